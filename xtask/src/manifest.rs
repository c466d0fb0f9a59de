//! Reading what we need of a `Cargo.toml`: enough TOML for manifests, no more.

#[cfg(test)]
mod tests;

/// One `key = value`, with the header it stands under.
#[derive(Debug)]
struct Entry {
    /// Header and key together: `["dependencies", "rustix", "workspace"]`.
    path: Vec<String>,
    value: String,
    line: usize,
    /// Counts headers: entries under one `[[example]]` share it.
    block: usize,
}

/// A line of one of the dependency tables.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) kind: DependencyKind,
    /// The real name, also when renamed here.
    pub(crate) package: String,
    pub(crate) line: usize,
}

/// The table a dependency stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DependencyKind {
    Normal,
    Dev,
    Build,
}

/// A `[[example]]` or `[[bench]]`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) required_features: Vec<String>,
    pub(crate) line: usize,
}

/// All dependencies, those of `[target.'cfg(...)']` too.
pub(crate) fn dependencies(text: &str) -> Vec<Dependency> {
    let mut found: Vec<(String, Dependency)> = Vec::new();
    for entry in entries(text) {
        let path = match entry.path.as_slice() {
            [first, _, rest @ ..] if first == "target" => rest,
            path => path,
        };
        let [table, alias, rest @ ..] = path else {
            continue;
        };
        let kind = match table.as_str() {
            "dependencies" => DependencyKind::Normal,
            "dev-dependencies" => DependencyKind::Dev,
            "build-dependencies" => DependencyKind::Build,
            _ => continue,
        };
        let renamed = match rest {
            [] => inline(&entry.value, "package"),
            [key] if key == "package" => Some(unquote(&entry.value)),
            _ => None,
        };
        let known = found
            .iter()
            .position(|(name, dependency)| name == alias && dependency.kind == kind);
        let at = known.unwrap_or_else(|| {
            let dependency = Dependency {
                kind,
                package: alias.clone(),
                line: entry.line,
            };
            found.push((alias.clone(), dependency));
            found.len() - 1
        });
        if let Some(package) = renamed {
            found[at].1.package = package;
        }
    }
    found
        .into_iter()
        .map(|(_, dependency)| dependency)
        .collect()
}

/// The targets of one kind, `"example"` or `"bench"`.
pub(crate) fn targets(text: &str, kind: &str) -> Vec<Target> {
    let mut found: Vec<(usize, Target)> = Vec::new();
    for entry in entries(text) {
        let [table, key] = entry.path.as_slice() else {
            continue;
        };
        if table != kind {
            continue;
        }
        if found.last().is_none_or(|(block, _)| *block != entry.block) {
            found.push((entry.block, Target::default()));
        }
        let Some((_, target)) = found.last_mut() else {
            continue;
        };
        match key.as_str() {
            "name" => {
                target.name = unquote(&entry.value);
                target.line = entry.line;
            }
            "path" => target.path = unquote(&entry.value),
            "required-features" => target.required_features = array(&entry.value),
            _ => {}
        }
    }
    found.into_iter().map(|(_, target)| target).collect()
}

/// Whether `[lints]` says `workspace = true`.
pub(crate) fn shares_lints(text: &str) -> bool {
    entries(text)
        .iter()
        .any(|entry| entry.path == ["lints", "workspace"] && entry.value == "true")
}

fn entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut header = Vec::new();
    let mut block = 0;
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = without_comment(line);
        if let Some(name) = line.strip_prefix('[') {
            header = segments(name.trim_matches(['[', ']']), '.');
            block += 1;
        } else if let Some((key, value)) = split_once(line, '=') {
            let mut value = value.trim().to_owned();
            while depth(&value) > 0 {
                let Some((_, line)) = lines.next() else { break };
                value.push(' ');
                value.push_str(without_comment(line));
            }
            let mut path = header.clone();
            path.extend(segments(key, '.'));
            entries.push(Entry {
                path,
                value,
                line: index + 1,
                block,
            });
        }
    }
    entries
}

/// Calls `visit` with each character outside of quotes and its position, until
/// it returns true; returns that position.
fn find_unquoted(text: &str, mut visit: impl FnMut(char) -> bool) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if visit(c) => return Some(at),
            None => {}
        }
    }
    None
}

fn without_comment(line: &str) -> &str {
    let end = find_unquoted(line, |c| c == '#').unwrap_or(line.len());
    line[..end].trim()
}

fn split_once(text: &str, separator: char) -> Option<(&str, &str)> {
    let at = find_unquoted(text, |c| c == separator)?;
    Some((&text[..at], &text[at + separator.len_utf8()..]))
}

/// How many brackets are open at the end.
fn depth(text: &str) -> i32 {
    let mut depth = 0;
    find_unquoted(text, |c| {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        false
    });
    depth
}

/// Splits outside of quotes and takes the quotes off.
fn segments(mut text: &str, separator: char) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((first, rest)) = split_once(text, separator) {
        found.push(unquote(first));
        text = rest;
    }
    found.push(unquote(text));
    found
}

fn unquote(text: &str) -> String {
    text.trim().trim_matches(['"', '\'']).to_owned()
}

/// The elements of `["a", "b"]`.
fn array(value: &str) -> Vec<String> {
    let mut found = segments(value.trim_matches(['[', ']']), ',');
    found.retain(|element| !element.is_empty());
    found
}

/// The text of `key` in an inline table.
fn inline(value: &str, key: &str) -> Option<String> {
    let mut rest = value.strip_prefix('{')?.trim_end_matches('}');
    loop {
        let (pair, after) = split_once(rest, ',').unwrap_or((rest, ""));
        if let Some((name, text)) = split_once(pair, '=')
            && unquote(name) == key
        {
            return Some(unquote(text));
        }
        if after.is_empty() {
            return None;
        }
        rest = after;
    }
}
