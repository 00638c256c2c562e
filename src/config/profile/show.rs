//! The settings as `profile show` prints them, for people and for programs.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeSeq};

use super::{KEYS, Settings, Value, keys::Kind};

impl Settings {
    /// Key, value and origin of everything, in the order of the table. A hash is a secret that can be guessed at.
    fn rows(&self) -> Vec<(&'static str, Option<Value>, String)> {
        let shown = KEYS.iter().filter(|key| !matches!(key.kind, Kind::CpfFile));
        shown
            .map(|key| match self.get(key.name) {
                None => (key.name, None, "not set".to_owned()),
                Some(setting) if key.name == "iris.password_hash" => {
                    (key.name, Some(Value::Text("(hidden)".into())), setting.origin.to_string())
                }
                Some(setting) => (key.name, Some(setting.value.clone()), setting.origin.to_string()),
            })
            .collect()
    }
}

/// A table for people: a text of several lines comes below its key.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value, origin) in self.rows() {
            let value = value.map_or("-".to_owned(), |value| value.to_string());
            if value.trim_end().contains('\n') {
                writeln!(f, "{key:<20}  {:<45}  {origin}", format!("{} lines:", value.lines().count()))?;
                value.lines().try_for_each(|line| writeln!(f, "    {line}"))?;
            } else {
                writeln!(f, "{key:<20}  {value:<45}  {origin}")?;
            }
        }
        Ok(())
    }
}

/// For programs: a list of `{key, value, origin}`.
impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row {
            key: &'static str,
            value: Option<Value>,
            origin: String,
        }
        let rows = self.rows();
        let mut list = serializer.serialize_seq(Some(rows.len()))?;
        for (key, value, origin) in rows {
            list.serialize_element(&Row { key, value, origin })?;
        }
        list.end()
    }
}
