//! Colour palettes: sent once per pane and connection; nobody here looks at them, a server must send one.

use super::wire::{DecodeError, Problem, Reader, Wire, Writer};

/// Red, green, blue, alpha, each from 0 to 1.
pub type Rgba = [f32; 4];

/// The colours of a pane.
#[derive(Debug, Clone, PartialEq)]
pub struct Palette {
    /// Always 256.
    pub colors: Vec<Rgba>,
    /// Foreground, background, cursor foreground, background and border, selection foreground and background,
    /// scrollbar thumb, split.
    pub special: [Rgba; 9],
}

const COLORS: usize = 256;

impl Wire for Palette {
    const MIN_SIZE: usize = 2 + (COLORS + 9) * 16;

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.count(16, COLORS as u64)?;
        if count != COLORS {
            return Err(reader.error(Problem::OutOfRange));
        }
        let colors = (0..count).map(|_| Rgba::read(reader)).collect::<Result<_, _>>()?;
        Ok(Self { colors, special: reader.field("Palette.special")? })
    }
    fn write(&self, writer: &mut Writer) {
        self.colors.write(writer);
        self.special.write(writer);
    }
}

impl Default for Palette {
    /// The usual 256 colours on black.
    fn default() -> Self {
        let colors = (0..=255).map(|index| opaque(xterm(index))).collect();
        let (light, dark) = (opaque([0xb2; 3]), opaque([0; 3]));
        let cursor = opaque([0x52, 0xad, 0x70]);
        let selection = [0.5, 0.4, 0.6, 0.5];
        let clear = [0.0; 4];
        let thumb = opaque([0x22; 3]);
        let split = opaque([0x44; 3]);
        Self { colors, special: [light, dark, dark, cursor, cursor, clear, selection, thumb, split] }
    }
}

fn opaque([red, green, blue]: [u8; 3]) -> Rgba {
    [f32::from(red) / 255.0, f32::from(green) / 255.0, f32::from(blue) / 255.0, 1.0]
}

/// 16 named colours, a 6x6x6 cube, 24 greys.
fn xterm(index: u8) -> [u8; 3] {
    const NAMED: [[u8; 3]; 16] = [
        [0x00, 0x00, 0x00],
        [0xcc, 0x55, 0x55],
        [0x55, 0xcc, 0x55],
        [0xcd, 0xcd, 0x55],
        [0x54, 0x55, 0xcb],
        [0xcc, 0x55, 0xcc],
        [0x7a, 0xca, 0xca],
        [0xcc, 0xcc, 0xcc],
        [0x55, 0x55, 0x55],
        [0xff, 0x55, 0x55],
        [0x55, 0xff, 0x55],
        [0xff, 0xff, 0x55],
        [0x55, 0x55, 0xff],
        [0xff, 0x55, 0xff],
        [0x55, 0xff, 0xff],
        [0xff, 0xff, 0xff],
    ];
    const RAMP: [u8; 6] = [0x00, 0x5f, 0x87, 0xaf, 0xd7, 0xff];
    match index {
        0..=15 => NAMED[usize::from(index)],
        16..=231 => {
            let cube = usize::from(index - 16);
            [RAMP[cube / 36], RAMP[cube / 6 % 6], RAMP[cube % 6]]
        }
        232..=255 => [8 + 10 * (index - 232); 3],
    }
}
