//! What is in the registry.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{ask, refused, stored};
use crate::{
    error::Result,
    host::{Host, HttpAnswer},
    image::Name,
};

/// Names per answer. A registry may send fewer, and says where the next ones are.
const PAGE: usize = 200;

/// An image with its tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// As Kubernetes takes it.
    pub image: String,
    /// Its name in the registry.
    #[serde(flatten)]
    pub name: Name,
    /// Its digest.
    #[serde(rename = "digest")]
    pub stored: String,
    /// The bytes of its layers, as far as they are known.
    pub size: Option<u64>,
}

/// All images with all their tags.
///
/// # Errors
/// The registry does not answer (transient), or refuses.
pub fn list(host: &dyn Host) -> Result<Vec<Listed>> {
    let repositories = pages(host, &format!("/v2/_catalog?n={PAGE}"), "repositories")?;
    let mut all = Vec::new();
    for repository in repositories {
        all.extend(tagged(host, &repository)?);
    }
    Ok(all)
}

/// The other tags that lead to the same digest: what removes the one removes these.
///
/// # Errors
/// As for [`list`].
pub fn others_of(host: &dyn Host, name: &Name, digest: &str) -> Result<Vec<String>> {
    let all = tagged(host, &name.repository)?;
    let same = all.into_iter().filter(|other| other.stored == digest && other.name.tag != name.tag);
    Ok(same.map(|other| other.name.tag).collect())
}

fn tagged(host: &dyn Host, repository: &str) -> Result<Vec<Listed>> {
    let tags = pages(host, &format!("/v2/{repository}/tags/list?n={PAGE}"), "tags")?;
    let mut found: BTreeMap<String, Listed> = BTreeMap::new();
    for tag in tags {
        let name = Name { repository: repository.to_owned(), tag: tag.clone(), digest: None };
        // Removed since the list was made.
        let Some(image) = stored(host, &name)? else { continue };
        found.insert(tag, Listed { image: name.to_string(), name, stored: image.digest, size: image.size });
    }
    Ok(found.into_values().collect())
}

/// A list that comes in pages. A repository whose last tag was removed has none: `null`, or 404.
fn pages(host: &dyn Host, first: &str, field: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let mut path = Some(first.to_owned());
    while let Some(now) = path {
        let answer = ask(host, "GET", &now, Vec::new())?;
        match answer.status {
            200 => {}
            404 => break,
            _ => return Err(refused("the registry does not list its images", &answer)),
        }
        let page: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let names = page[field].as_array().cloned().unwrap_or_default();
        all.extend(names.iter().filter_map(Value::as_str).map(str::to_owned));
        // A link to the same page would never end.
        path = next(&answer).filter(|next| *next != now && !names.is_empty());
    }
    Ok(all)
}

/// Where the next page is: `Link: </v2/_catalog?last=x&n=200>; rel="next"`.
fn next(answer: &HttpAnswer) -> Option<String> {
    let link = answer.header("link")?;
    let target = link.strip_prefix('<')?.split_once('>')?.0;
    target.find("/v2/").map(|at| target[at..].to_owned())
}
