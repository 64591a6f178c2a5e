//! Keys as the wire names them. The server turns a key into bytes by the keyboard mode of the pane.

use super::wire::{DecodeError, Problem, Reader, Wire, Writer};

/// Keys held down with another, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modifiers(pub u16);

impl Modifiers {
    pub const NONE: Self = Self(0);
    pub const SHIFT: Self = Self(1 << 1);
    pub const ALT: Self = Self(1 << 2);
    pub const CTRL: Self = Self(1 << 3);
    pub const SUPER: Self = Self(1 << 4);

    /// These and those together.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Wire for Modifiers {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u16::read(reader).map(Self)
    }
    fn write(&self, writer: &mut Writer) {
        self.0.write(writer);
    }
}

/// Which key. `Ctrl+C` is `Char('c')` with [`Modifiers::CTRL`]; back-tab is `Tab` with [`Modifiers::SHIFT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyCode {
    Char(char),
    Backspace,
    Tab,
    Enter,
    Escape,
    PageUp,
    PageDown,
    End,
    Home,
    Left,
    Right,
    Up,
    Down,
    Insert,
    Delete,
    /// F1 is 1.
    Function(u8),
    /// A key that only its number is known of: modifiers by themselves, keypad and media keys.
    Other(u64),
}

const CHAR: u64 = 0;
const FUNCTION: u64 = 59;
/// Above these no key is known.
const LAST: u64 = 120;
const NUMBERED: &[(u64, KeyCode)] = &[
    (5, KeyCode::Backspace),
    (6, KeyCode::Tab),
    (8, KeyCode::Enter),
    (10, KeyCode::Escape),
    (24, KeyCode::PageUp),
    (25, KeyCode::PageDown),
    (26, KeyCode::End),
    (27, KeyCode::Home),
    (28, KeyCode::Left),
    (29, KeyCode::Right),
    (30, KeyCode::Up),
    (31, KeyCode::Down),
    (36, KeyCode::Insert),
    (37, KeyCode::Delete),
];

impl Wire for KeyCode {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.unsigned()? {
            CHAR => char::read(reader).map(Self::Char),
            FUNCTION => reader.byte().map(Self::Function),
            number if number > LAST => Err(reader.error(Problem::UnknownVariant(number))),
            number => Ok(NUMBERED
                .iter()
                .find(|(known, _)| *known == number)
                .map_or(Self::Other(number), |(_, code)| *code)),
        }
    }
    fn write(&self, writer: &mut Writer) {
        match *self {
            Self::Char(c) => {
                writer.unsigned(CHAR);
                c.write(writer);
            }
            Self::Function(number) => {
                writer.unsigned(FUNCTION);
                writer.bytes.push(number);
            }
            Self::Other(number) => writer.unsigned(number),
            named => {
                let number =
                    NUMBERED.iter().find(|(_, code)| *code == named).map_or(LAST, |(number, _)| *number);
                writer.unsigned(number);
            }
        }
    }
}

/// A key press.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub code: KeyCode,
    pub modifiers: Modifiers,
}

impl Key {
    /// A key with nothing held down.
    pub const fn plain(code: KeyCode) -> Self {
        Self { code, modifiers: Modifiers::NONE }
    }

    pub const fn with(code: KeyCode, modifiers: Modifiers) -> Self {
        Self { code, modifiers }
    }
}

impl Wire for Key {
    const MIN_SIZE: usize = 2;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { code: reader.field("Key.code")?, modifiers: reader.field("Key.modifiers")? })
    }
    fn write(&self, writer: &mut Writer) {
        self.code.write(writer);
        self.modifiers.write(writer);
    }
}
