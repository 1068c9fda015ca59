//! Durations (`1h30m`, `250ms`) and Kubernetes quantities (`64Mi`, `1G`), read from their texts.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// A number alone.
    #[error("its unit is missing: write {0}s, {0}m or {0}ms")]
    NoUnit(String),
    /// Anything else.
    #[error("write numbers with units, largest first, such as 15m, 1h30m or 250ms (d, h, m, s, ms)")]
    Shape,
}

/// Units, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads a duration: whole numbers with units, each unit at most once and largest first. At most 9 digits each.
pub fn duration(text: &str) -> Result<Duration, DurationError> {
    if !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DurationError::NoUnit(text.to_owned()));
    }
    let mut rest = text;
    let mut total_ms = 0_u64;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(|byte| !byte.is_ascii_digit()).count();
        let (unit, tail) = tail.split_at(tail.char_indices().nth(letters).map_or(tail.len(), |(at, _)| at));
        if digits > 9 {
            return Err(DurationError::Shape);
        }
        let number: u64 = number.parse().map_err(|_| DurationError::Shape)?;
        let found = UNITS.iter().skip(next_unit).position(|(name, _)| *name == unit);
        let index = next_unit + found.ok_or(DurationError::Shape)?;
        total_ms += number * UNITS[index].1;
        next_unit = index + 1;
        rest = tail;
    }
    if next_unit == 0 { Err(DurationError::Shape) } else { Ok(Duration::from_millis(total_ms)) }
}

/// The shortest text that [`duration`] reads back to the same value (whole milliseconds).
pub fn duration_text(duration: Duration) -> String {
    let mut rest = duration.as_millis() as u64;
    let mut text = String::new();
    for (unit, ms) in UNITS {
        if rest >= ms {
            text.push_str(&(rest / ms).to_string());
            text.push_str(unit);
            rest %= ms;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// Why a text is no quantity of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write a whole number of bytes or a quantity such as 64Mi or 1G (k M G T P E, Ki Mi Gi Ti Pi Ei)")]
pub struct QuantityError;

const SUFFIXES: [(&str, u64); 13] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("", 1),
];

/// Reads a quantity of bytes (Kubernetes `resource.Quantity`, without exponents and thousandths): a decimal
/// number of at most 18 digits and a suffix. A part of a byte is rounded up, as Kubernetes does.
pub fn quantity(text: &str) -> Result<u64, QuantityError> {
    let (suffix, factor) = SUFFIXES.iter().find(|(suffix, _)| text.ends_with(suffix)).ok_or(QuantityError)?;
    let number = &text[..text.len() - suffix.len()];
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || !digits(whole)
        || !digits(part)
        || whole.len() + part.len() > 18
        || number.ends_with('.')
    {
        return Err(QuantityError);
    }
    let scale = 10_u128.pow(part.len() as u32);
    let number: u128 = format!("{whole}{part}").parse().map_err(|_| QuantityError)?;
    u64::try_from((number * u128::from(*factor)).div_ceil(scale)).map_err(|_| QuantityError)
}

/// A number of bytes with the largest binary suffix that divides it.
pub fn quantity_text(bytes: u64) -> String {
    for (suffix, factor) in SUFFIXES[..6].iter().rev() {
        if bytes > 0 && bytes.is_multiple_of(*factor) {
            return format!("{}{suffix}", bytes / factor);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        #[track_caller]
        fn check(text: &str, ms: u64, written: &str) {
            let read = duration(text).unwrap();
            assert_eq!(read, Duration::from_millis(ms));
            assert_eq!(duration_text(read), written);
        }
        check("15m", 900_000, "15m");
        check("1h30m", 5_400_000, "1h30m");
        check("250ms", 250, "250ms");
        check("90s", 90_000, "1m30s");
        check("1d1h1m1s1ms", 90_061_001, "1d1h1m1s1ms");
        check("0s", 0, "0s");
        for wrong in [
            "",
            "m",
            "15",
            "15x",
            "1m1h",
            "1s1s",
            "-5s",
            "1.5s",
            " 5s",
            "5 s",
            "5s ",
            "1234567890s",
            "5µs",
            "é",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(duration("15").unwrap_err().to_string(), "its unit is missing: write 15s, 15m or 15ms");
    }

    #[test]
    fn quantities_are_read_and_written() {
        #[track_caller]
        fn check(text: &str, bytes: u64, written: &str) {
            assert_eq!(quantity(text), Ok(bytes), "{text}");
            assert_eq!(quantity_text(bytes), written);
        }
        check("64Mi", 64 << 20, "64Mi");
        check("1G", 1_000_000_000, "1000000000");
        check("1024", 1024, "1Ki");
        check("1.5Gi", 3 << 29, "1536Mi");
        check("0.5", 1, "1");
        check("0", 0, "0");
        for wrong in [
            "",
            "Mi",
            "64MB",
            "64mi",
            "-1",
            "1e3",
            "1m",
            "1..5Mi",
            "1.Mi",
            ".5Mi",
            "99Ei",
            " 1",
            "1 Mi",
            "1234567890123456789",
        ] {
            assert!(quantity(wrong).is_err(), "{wrong}");
        }
    }
}
