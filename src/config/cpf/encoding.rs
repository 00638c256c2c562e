//! From the bytes of a file to text. IRIS reads a CPF as UTF-8; what is in another encoding is refused by naming that one.

/// More than any CPF that people write.
pub const LONGEST: usize = 64 << 10;

/// The text.
///
/// # Errors
/// It is not UTF-8: the reason, as a sentence without its subject.
pub fn decode(bytes: &[u8]) -> Result<String, String> {
    let utf8 = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let seems = match bytes {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "UTF-16",
        // A text in one of these languages has letters of ASCII, too, and UTF-16 gives each of them a zero.
        _ if bytes.len() >= 4 && bytes.iter().filter(|b| **b == 0).count() * 3 >= bytes.len() => "UTF-16",
        _ => match std::str::from_utf8(utf8) {
            Ok(text) => return Ok(text.to_owned()),
            Err(_) => guess(utf8),
        },
    };
    Err(format!("is not UTF-8 but seems to be {seems}; save it as UTF-8"))
}

fn guess(bytes: &[u8]) -> &'static str {
    let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Allow);
    detector.feed(bytes, true);
    detector.guess(None, chardetng::Utf8Detection::Deny).name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_text_and_other_encodings_are_named() {
        assert_eq!(decode(b"\xEF\xBB\xBF[Startup]\r\n").as_deref(), Ok("[Startup]\r\n"));
        for (bytes, name) in [
            (&b"\xFF\xFE[\0A\0]\0"[..], "UTF-16"),
            (b"[\0A\0]\0\n\0", "UTF-16"),
            (b"\0[\0A\0]\0\n", "UTF-16"),
            (b"; \x92\x8d\x95\xb6\n[Startup]\n", "Shift_JIS"),
            (b"; \xc3\xed\xca\xb8\xa4\xce\xa5\xb5\xa1\xbc\xa5\xd3\xa5\xb9\n[Startup]\n", "EUC-JP"),
            (b"; gr\xfc\xdfe aus K\xf6ln\n[Startup]\n", "windows-1252"),
        ] {
            let why = decode(bytes).expect_err(name);
            assert_eq!(why, format!("is not UTF-8 but seems to be {name}; save it as UTF-8"));
        }
    }
}
