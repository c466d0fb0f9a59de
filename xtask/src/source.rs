//! Rust source with its comments and texts taken out.

#[cfg(test)]
mod tests;

/// Returns `text` with every comment turned into blanks and every character
/// inside a string or character literal into `_`. Lines stay where they are.
pub(crate) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let (end, fill) = token(&chars, at);
        let (open, close) = match fill {
            Fill::Keep => (end, end),
            Fill::Blank => (at, end),
            Fill::Text { open, close } => (open, close),
        };
        for (index, &c) in chars[at..end].iter().enumerate() {
            let inside = (open..close).contains(&(at + index));
            code.push(match fill {
                _ if c == '\n' || !inside => c,
                Fill::Text { .. } => '_',
                _ => ' ',
            });
        }
        at = end;
    }
    code
}

/// What becomes of a token.
enum Fill {
    Keep,
    Blank,
    /// The text between its quotes goes.
    Text {
        open: usize,
        close: usize,
    },
}

/// Where the token that begins at `at` ends, and what becomes of it.
fn token(chars: &[char], at: usize) -> (usize, Fill) {
    let next = chars.get(at + 1);
    match chars[at] {
        '/' if next == Some(&'/') => {
            let end = position(chars, at, |c| c == '\n');
            (end, Fill::Blank)
        }
        '/' if next == Some(&'*') => (block_comment(chars, at), Fill::Blank),
        '"' => quoted(chars, at, '"'),
        '\'' if next == Some(&'\\') || chars.get(at + 2) == Some(&'\'') => quoted(chars, at, '\''),
        c if c.is_alphanumeric() || c == '_' => {
            let end = position(chars, at, |c| !c.is_alphanumeric() && c != '_');
            let word: String = chars[at..end].iter().collect();
            if ["r", "br", "cr"].contains(&word.as_str()) {
                raw_string(chars, at, end)
            } else {
                (end, Fill::Keep)
            }
        }
        _ => (at + 1, Fill::Keep),
    }
}

fn position(chars: &[char], from: usize, stop: impl Fn(char) -> bool) -> usize {
    chars[from..]
        .iter()
        .position(|&c| stop(c))
        .map_or(chars.len(), |offset| from + offset)
}

/// The end of a block comment; they nest.
fn block_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

/// A literal in which a backslash escapes.
fn quoted(chars: &[char], start: usize, quote: char) -> (usize, Fill) {
    let open = start + 1;
    let mut at = open;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    let close = at.min(chars.len());
    let end = (close + 1).min(chars.len());
    (end, Fill::Text { open, close })
}

/// The literal `r##"..."##`, whose prefix ends at `prefix`; or just that word.
fn raw_string(chars: &[char], start: usize, prefix: usize) -> (usize, Fill) {
    let quote = position(chars, prefix, |c| c != '#');
    if chars.get(quote) != Some(&'"') {
        return (prefix.max(start + 1), Fill::Keep);
    }
    let hashes = quote - prefix;
    let open = quote + 1;
    for close in open..chars.len() {
        let end = close + 1 + hashes;
        if chars[close] == '"'
            && end <= chars.len()
            && chars[close + 1..end].iter().all(|&c| c == '#')
        {
            return (end, Fill::Text { open, close });
        }
    }
    let close = chars.len();
    (close, Fill::Text { open, close })
}
