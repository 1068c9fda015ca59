//! The key that was probably meant.

/// The nearest candidate, where it is near enough to be what was meant.
pub(crate) fn nearest<'a>(given: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let wanted = last(given);
    // A third of the letters may differ: 'heartbeat' and 'refresh' are still told apart.
    let near_max = (wanted.len() / 3).clamp(1, 4);
    let section = |path: &str| path.rsplit_once('.').map(|(section, _)| section.to_owned());
    candidates
        .filter_map(|candidate| {
            let name = last(candidate);
            let mut far = distance(&wanted, &name);
            if far > near_max && (name.starts_with(&wanted) || wanted.starts_with(&name)) && wanted.len() >= 4
            {
                far = near_max;
            }
            let elsewhere = section(candidate) != section(given);
            (far <= near_max).then_some((far, elsewhere, candidate))
        })
        .min()
        .map(|(_, _, candidate)| candidate)
}

/// Letters to insert, remove or replace (Levenshtein); both texts are keys, so they are short.
pub(crate) fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
