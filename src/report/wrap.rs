//! Lines that stay are wrapped between words: a terminal breaks them in the middle of one.

/// The least room for words beside the columns.
const LEAST: usize = 30;

/// The column at which the continuation of a line begins: below its title, where it is about a step; else below its first word.
fn hang(line: &str) -> usize {
    let starts_word = |column: usize| {
        let (before, here) = (line.chars().nth(column - 1), line.chars().nth(column));
        before == Some(' ') && here.is_some_and(|c| c != ' ')
    };
    match line.trim_start() {
        text if text.starts_with("cause:") || text.starts_with("hint:") => {
            line.chars().count() - text.chars().count() + 7
        }
        // `created  snap.microk8s          MicroK8s ...`
        _ if starts_word(9) && starts_word(32) => 32,
        // `warning  ...`
        _ if starts_word(9) => 9,
        text => line.chars().count() - text.chars().count(),
    }
}

/// The text with no line wider than this, unless a single word is.
pub(super) fn wrapped(text: &str, width: usize) -> String {
    text.lines().map(|line| wrapped_line(line, width)).collect::<Vec<_>>().join("\n")
}

fn wrapped_line(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let hang = if hang(line) + LEAST <= width { hang(line) } else { 2 };
    let mut text = String::new();
    let mut column = 0;
    for word in line.split_inclusive(' ') {
        let length = word.trim_end().chars().count();
        if column + length > width && column > hang {
            text.truncate(text.trim_end().len());
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', hang));
            column = hang;
        }
        text.push_str(word);
        column += word.chars().count();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_breaks_between_words_and_goes_on_below_its_title() {
        let line =
            "kept     preflight.range        the range 192.168.11.110-192.168.11.130 suits the network: all free";
        let shown = wrapped(line, 80);
        assert_eq!(
            shown,
            "kept     preflight.range        the range 192.168.11.110-192.168.11.130 suits\n                                the network: all free"
        );
        let cause = "  cause: the first words of a cause that is longer than this terminal is wide";
        assert_eq!(
            wrapped(cause, 60),
            "  cause: the first words of a cause that is longer than this\n         terminal is wide"
        );
        let path = "warning  /var/snap/microk8s/common/default-storage/default-dbv-data-data-0-pvc-0019 is left";
        assert_eq!(wrapped(path, 40), format!("{}\n         is left", path.trim_end_matches(" is left")));
    }

    #[test]
    fn what_fits_is_not_touched() {
        let text = "created  a.b                    a title\n  hint:  a hint";
        assert_eq!(wrapped(text, 80), text);
        assert_eq!(wrapped("", 80), "");
    }
}
