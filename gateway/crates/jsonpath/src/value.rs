//! A value: what JSON has, told apart as Java tells it apart.

use crate::heap::{ListId, MapId};
use crate::text::Text;

/// A value. Lists and maps are handles into the [`Heap`](crate::Heap) that made them.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Java's `Integer`.
    Int(i32),
    /// Java's `Long`.
    Long(i64),
    /// Java's `BigInteger`, by its digits.
    BigInt(Text<'a>),
    /// Java's `Double`.
    Double(f64),
    /// Java's `BigDecimal`, by its digits: the source text is kept.
    Decimal(Text<'a>),
    /// A string.
    Str(Text<'a>),
    /// A list.
    List(ListId),
    /// A map.
    Map(MapId),
    /// An object of the host's; nothing here looks inside.
    Opaque(u32),
}

impl<'a> Value<'a> {
    /// A string.
    pub fn text(text: impl Into<Text<'a>>) -> Self {
        Self::Str(text.into())
    }

    /// The string, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is a number of any kind.
    #[must_use]
    pub const fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Long(_) | Self::BigInt(_) | Self::Double(_) | Self::Decimal(_))
    }

    /// The integer, if it is one that 128 bits hold.
    #[must_use]
    pub fn as_integer(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(i128::from(*number)),
            Self::Long(number) => Some(i128::from(*number)),
            Self::BigInt(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// The number as a double, if it is a number.
    #[must_use]
    pub fn as_double(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(f64::from(*number)),
            Self::Long(number) => Some(*number as f64),
            Self::Double(number) => Some(*number),
            Self::BigInt(digits) | Self::Decimal(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// Whether both are equal as map keys are: same kind, same content.
    #[must_use]
    pub fn same_key(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Long(a), Self::Long(b)) => a == b,
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            (Self::Str(a), Self::Str(b))
            | (Self::BigInt(a), Self::BigInt(b))
            | (Self::Decimal(a), Self::Decimal(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            _ => false,
        }
    }
}
