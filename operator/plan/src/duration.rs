//! Durations as manifests write them: a whole number and a unit.

/// In milliseconds; none when the text is no duration.
pub(crate) fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        fn check(text: &str, wanted: Option<u64>) {
            assert_eq!(milliseconds(text), wanted, "{text}");
        }
        check("0s", Some(0));
        check("250ms", Some(250));
        check("5s", Some(5000));
        check("15m", Some(900_000));
        check("24h", Some(86_400_000));
        check("5", None);
        check("s", None);
        check("1d", None);
        check("-1s", None);
        check("99999999999999999999s", None);
    }
}
