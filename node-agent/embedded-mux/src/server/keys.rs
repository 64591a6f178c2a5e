//! Keys and pastes as the bytes that a program in a terminal reads.

use wa_mux::codec::{Key, KeyCode, Modifiers};

const PASTE_BEGIN: &str = "\x1b[200~";
const PASTE_END: &str = "\x1b[201~";

/// The bytes for a pasted text. Markers inside it are taken out. Where the program did not ask for
/// markers every kind of line end becomes a carriage return, as if it had been typed.
pub(super) fn paste(text: &str, bracketed: bool) -> Vec<u8> {
    let text = text.replace(PASTE_BEGIN, "").replace(PASTE_END, "");
    if bracketed {
        format!("{PASTE_BEGIN}{text}{PASTE_END}").into_bytes()
    } else {
        text.replace("\r\n", "\r").replace('\n', "\r").into_bytes()
    }
}

/// The bytes for a key; none for keys that say nothing by themselves.
pub(super) fn key(key: Key, application_cursor: bool) -> Vec<u8> {
    let held = key.modifiers;
    let alt = held.has(Modifiers::ALT);
    match key.code {
        KeyCode::Char(c) => with_alt(alt, character(c, held)),
        KeyCode::Enter => with_alt(alt, vec![b'\r']),
        KeyCode::Escape => with_alt(alt, vec![0x1b]),
        KeyCode::Tab if held.has(Modifiers::SHIFT) => with_alt(alt, b"\x1b[Z".to_vec()),
        KeyCode::Tab => with_alt(alt, vec![b'\t']),
        KeyCode::Backspace if held.has(Modifiers::CTRL) => with_alt(alt, vec![0x08]),
        KeyCode::Backspace => with_alt(alt, vec![0x7f]),
        KeyCode::Up => cursor('A', held, application_cursor),
        KeyCode::Down => cursor('B', held, application_cursor),
        KeyCode::Right => cursor('C', held, application_cursor),
        KeyCode::Left => cursor('D', held, application_cursor),
        KeyCode::Home => cursor('H', held, application_cursor),
        KeyCode::End => cursor('F', held, application_cursor),
        KeyCode::Insert => tilde(2, held),
        KeyCode::Delete => tilde(3, held),
        KeyCode::PageUp => tilde(5, held),
        KeyCode::PageDown => tilde(6, held),
        KeyCode::Function(number) => function(number, held),
        KeyCode::Other(_) => Vec::new(),
    }
}

fn with_alt(alt: bool, mut bytes: Vec<u8>) -> Vec<u8> {
    if alt {
        bytes.insert(0, 0x1b);
    }
    bytes
}

fn character(c: char, held: Modifiers) -> Vec<u8> {
    if held.has(Modifiers::CTRL) {
        let control = match c.to_ascii_lowercase() {
            letter @ 'a'..='z' => Some(letter as u8 & 0x1f),
            ' ' | '@' | '2' => Some(0),
            '[' | '3' => Some(0x1b),
            '\\' | '4' => Some(0x1c),
            ']' | '5' => Some(0x1d),
            '^' | '6' => Some(0x1e),
            '_' | '/' | '-' | '7' => Some(0x1f),
            '?' | '8' => Some(0x7f),
            _ => None,
        };
        if let Some(control) = control {
            return vec![control];
        }
    }
    let c = if held.has(Modifiers::SHIFT) { c.to_ascii_uppercase() } else { c };
    c.to_string().into_bytes()
}

/// 1 for none, as terminals count modifiers.
fn modifier_number(held: Modifiers) -> u8 {
    let bits = [(Modifiers::SHIFT, 1), (Modifiers::ALT, 2), (Modifiers::CTRL, 4)];
    bits.iter().filter(|(m, _)| held.has(*m)).map(|(_, bit)| bit).sum::<u8>() + 1
}

fn cursor(letter: char, held: Modifiers, application: bool) -> Vec<u8> {
    match modifier_number(held) {
        1 if application => format!("\x1bO{letter}"),
        1 => format!("\x1b[{letter}"),
        number => format!("\x1b[1;{number}{letter}"),
    }
    .into_bytes()
}

fn tilde(key: u8, held: Modifiers) -> Vec<u8> {
    match modifier_number(held) {
        1 => format!("\x1b[{key}~"),
        number => format!("\x1b[{key};{number}~"),
    }
    .into_bytes()
}

fn function(number: u8, held: Modifiers) -> Vec<u8> {
    const FROM_FIVE: [u8; 20] =
        [15, 17, 18, 19, 20, 21, 23, 24, 25, 26, 28, 29, 31, 32, 33, 34, 42, 43, 44, 45];
    match number {
        1..=4 => {
            let letter = char::from(b'P' + number - 1);
            match modifier_number(held) {
                1 => format!("\x1bO{letter}").into_bytes(),
                modifier => format!("\x1b[1;{modifier}{letter}").into_bytes(),
            }
        }
        5..=24 => tilde(FROM_FIVE[usize::from(number) - 5], held),
        _ => Vec::new(),
    }
}
