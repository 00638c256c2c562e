//! Takes the comments out of a CPF and leaves the rest of each line, with the line's number.

use super::Mistake;

/// A line without its comments.
pub(super) struct Code<'a> {
    pub(super) number: usize,
    /// The line as it was written.
    pub(super) raw: &'a str,
    /// What of it is no comment.
    pub(super) text: String,
    /// Something of it is a comment.
    pub(super) commented: bool,
}

/// What the scanner found.
pub(super) struct Scanned<'a> {
    pub(super) lines: Vec<Code<'a>>,
    pub(super) mistakes: Vec<Mistake>,
    /// Signs of a comment that stand within a word, where they belong to the value.
    pub(super) within_words: Vec<Mistake>,
}

/// What opens a comment that ends with its line.
const LINE_SIGNS: [&str; 3] = ["//", ";", "#"];

/// Reads the whole text; nothing in it stops the scanner.
pub(super) fn scan(text: &str) -> Scanned<'_> {
    let mut found = Scanned { lines: Vec::new(), mistakes: Vec::new(), within_words: Vec::new() };
    // The line on which the block comment that is still open began.
    let mut open: Option<usize> = None;
    for (number, raw) in (1..).zip(text.lines()) {
        let mut code = String::new();
        let mut quoted = false;
        let mut rest = raw;
        let mut commented = open.is_some();
        while let Some(c) = rest.chars().next() {
            let mut step = c.len_utf8();
            if open.is_some() {
                match rest.find("*/") {
                    Some(end) => (open, step) = (None, end + 2),
                    None => step = rest.len(),
                }
            } else if quoted || c == '"' {
                quoted ^= c == '"';
                code.push(c);
            } else {
                let sign = LINE_SIGNS.into_iter().chain(["/*"]).find(|sign| rest.starts_with(sign));
                match sign {
                    Some(sign) if may_open(&code) => {
                        commented = true;
                        if sign == "/*" { (open, step) = (Some(number), 2) } else { step = rest.len() }
                    }
                    Some(sign) => {
                        if looks_meant(&code, sign, &rest[sign.len()..]) {
                            found.within_words.push(Mistake::at(number, format!(
                                "`{sign}` within a word belongs to the value; to begin a comment, put a blank before it"
                            )));
                        }
                        code.push_str(sign);
                        step = sign.len();
                    }
                    None => code.push(c),
                }
            }
            rest = &rest[step..];
        }
        if quoted {
            found.mistakes.push(Mistake::at(number, "a quotation mark is open at the end of the line".to_owned()));
        }
        found.lines.push(Code { number, raw, text: code.trim().to_owned(), commented });
    }
    if let Some(number) = open {
        found.mistakes.push(Mistake::at(number, "the comment that begins with `/*` has no end `*/`".to_owned()));
    }
    found
}

/// Whether a comment may begin after what the line has so far: at its beginning, after a blank, or after a section's name. Within a
/// word the signs belong to values, as IRIS's own default file has them (`80^#,$C(27)`, `http://host`).
fn may_open(code: &str) -> bool {
    code.trim_start().is_empty()
        || code.ends_with([' ', '\t'])
        || (code.ends_with(']') && code.trim_start().starts_with('['))
}

/// Whether a person may have meant a comment all the same: a blank follows, and it is no address.
fn looks_meant(code: &str, sign: &str, rest: &str) -> bool {
    !code.ends_with(':') && (rest.starts_with([' ', '\t']) || sign == "/*")
}
