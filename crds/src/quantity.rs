//! Sizes and amounts as Kubernetes writes them: `64Mi`, `500m`, `2`. Knows the notation only.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// What a size looks like: up to 15 digits, up to 3 decimals, then a suffix. Kubernetes also reads exponents
/// (`1e3`) and signs; nobody writes them, and here they would only hide mistakes.
pub(crate) const PATTERN: &str = r"^[0-9]{1,15}(\.[0-9]{1,3})?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$";

/// Longest size in characters.
pub(crate) const CHARACTERS_MAX: u32 = 24;

/// A Kubernetes quantity, kept as it was written. Read from text or from a whole number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Size(pub String);

impl Size {
    /// From text, unchecked.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// In thousandths, so that `500m` is 500; none when the text is no size or too large to hold.
    pub fn thousandths(&self) -> Option<u128> {
        let digits = self.0.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, suffix) = self.0.split_at(digits);
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || decimals.len() > 3 || (number.contains('.') && decimals.is_empty()) {
            return None;
        }
        let whole: u128 = whole.parse().ok()?;
        let decimals: u128 = format!("{decimals:0<3}").parse().ok()?;
        let thousandths = whole.checked_mul(1000)?.checked_add(decimals)?;
        let factor = match suffix {
            "m" => return Some(thousandths.div_ceil(1000)),
            "" => 1,
            "k" => 1000,
            "M" => 1000_u128.pow(2),
            "G" => 1000_u128.pow(3),
            "T" => 1000_u128.pow(4),
            "P" => 1000_u128.pow(5),
            "E" => 1000_u128.pow(6),
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            "Pi" => 1 << 50,
            "Ei" => 1 << 60,
            _ => return None,
        };
        thousandths.checked_mul(factor)
    }

    /// In bytes, rounded up; none when the text is no size or above 2^64 bytes.
    pub fn bytes(&self) -> Option<u64> {
        u64::try_from(self.thousandths()?.div_ceil(1000)).ok()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a size such as 64Mi")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Size, E> {
                Ok(Size(number.to_string()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Size, E> {
                Ok(Size(number.to_string()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                Ok(Size(text.to_owned()))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": PATTERN,
            "maxLength": CHARACTERS_MAX,
            // holds for whole numbers, as the pattern holds for text
            "minimum": 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_in_bytes() {
        fn check(text: &str, bytes: Option<u64>) {
            assert_eq!(Size::new(text).bytes(), bytes, "{text}");
        }
        check("0", Some(0));
        check("1Ki", Some(1024));
        check("1.5Ki", Some(1536));
        check("1k", Some(1000));
        check("500m", Some(1));
        check("64Mi", Some(64 << 20));
        check("15Ei", Some(15 << 60));
        check("16Ei", None);
        check("", None);
        check("Mi", None);
        check("1.Mi", None);
        check("1.2345", None);
        check("-1", None);
        check("64MB", None);
    }

    #[test]
    fn a_whole_number_is_a_size_too() {
        let size: Size = serde_json::from_str("1024").expect("a number");
        assert_eq!(size, Size::new("1024"));
        assert!(serde_json::from_str::<Size>("0.5").is_err());
    }
}
