//! What a person sees: the product at a terminal of 24 lines and 80 columns, and that terminal's screen at two moments.

use super::machine::Machine;

const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

/// A run at a terminal that came to its end.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) code: i32,
    /// The screen when the person began to type. By then everything that redraws itself has done so many times.
    pub(crate) asked: String,
    /// The screen in the end.
    pub(crate) end: String,
    /// Milliseconds from the key to the end.
    pub(crate) milliseconds: u64,
}

impl Machine {
    /// Runs the product at a terminal; when `text` came, and a moment later, the person types `keys` (as printf writes them).
    pub(crate) fn at_a_terminal(&self, args: &str, text: &str, keys: &str) -> Seen {
        let line = format!(
            "rm -f /tmp/keys /tmp/typed /tmp/screen; mkfifo /tmp/keys; \
             script -qefc 'stty rows {ROWS} cols {COLUMNS}; sudo {}iris-mk8s {args}' /tmp/screen </tmp/keys >/dev/null & \
             exec 3>/tmp/keys; for n in $(seq 1200); do tail -n +2 /tmp/screen | grep -qaF '{text}' && break; sleep 0.1; done; \
             sleep 1.5; cp /tmp/screen /tmp/typed; begun=$(date +%s%N); printf '{keys}' >&3; wait %1; \
             echo $? $(( ($(date +%s%N) - begun) / 1000000 )); \
             for file in typed screen; do od -An -v -tx1 /tmp/$file | tr -d ' \\n'; echo; done",
            self.era().variables()
        );
        let told = self.ubuntu(&line).ok();
        let lines: Vec<&str> = told.lines().collect();
        let [ended, asked, end] = lines[..] else { panic!("not three lines: {told}") };
        let (code, milliseconds) = ended.split_once(' ').expect("two numbers");
        Seen {
            code: code.parse().expect("an exit code"),
            asked: shown(asked),
            end: shown(end),
            milliseconds: milliseconds.parse().expect("a time"),
        }
    }
}

/// The screen after these bytes, which are written as hexadecimal digits. `script` begins its file with a line of its own.
fn shown(digits: &str) -> String {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("digits");
    let bytes: Vec<u8> = digits.as_bytes().chunks(2).map(byte).collect();
    let begin = bytes.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
    let mut terminal = vt100::Parser::new(ROWS, COLUMNS, 0);
    terminal.process(&bytes[begin..]);
    terminal.screen().contents()
}
