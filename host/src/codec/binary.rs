//! Checks a binary property list without expanding it.
//!
//! Objects of a binary property list refer to each other by number, so 150 bytes can mean billions
//! of values, or a circle. A pair record in this form is stored as it came; but it is checked to be
//! whole, a dictionary, and of a bounded size when somebody expands it. Reading values out of one
//! is left out.
//!
//! ```text
//! bplist00 | objects … | offset table | 6 bytes | offset size | reference size |
//!                                       number of objects u64 | top object u64 | offset table's place u64
//! ```
//! Everything is big-endian. An object is a marker byte (type and short length), a longer length
//! as an integer object if the short one is 15, and its contents: bytes, or references.

/// What a binary property list begins with.
pub(super) const MAGIC: &[u8] = b"bplist00";

/// Size of a record when every reference is followed, counted as [`NODE_WEIGHT`] for each value
/// and the bytes of its contents.
const MAX_WEIGHT: usize = 1 << 20;

/// What one value weighs, contents aside.
const NODE_WEIGHT: usize = 64;

const TRAILER_LEN: usize = 32;

/// Tells whether these bytes are a whole binary property list of a dictionary, nested at most
/// `max_depth` deep and of bounded size. Takes time proportional to the length.
pub(super) fn is_dictionary(bytes: &[u8], max_depth: usize) -> bool {
    let Some(document) = Document::open(bytes) else { return false };
    let mut known = vec![Known::Nothing; document.count];
    matches!(document.object(document.top), Some(Object::Dictionary { .. }))
        && document.measure(document.top, max_depth, &mut known).is_some()
}

/// A property list cut into its parts.
struct Document<'a> {
    /// From the beginning to the offset table.
    objects: &'a [u8],
    offsets: &'a [u8],
    offset_size: usize,
    reference_size: usize,
    count: usize,
    top: usize,
}

/// One object: the bytes of its contents.
enum Object<'a> {
    Scalar {
        contents: &'a [u8],
        is_string: bool,
    },
    /// References to the elements.
    Array {
        references: &'a [u8],
    },
    /// References to the keys, then to the values.
    Dictionary {
        keys: &'a [u8],
        values: &'a [u8],
    },
}

/// What is known about an object during the walk.
#[derive(Clone, Copy)]
enum Known {
    Nothing,
    /// It is being measured: to meet it again means a circle.
    Open,
    Measured(Measure),
}

/// The size of an object with everything below it.
#[derive(Clone, Copy)]
struct Measure {
    weight: usize,
    /// 1 for a scalar.
    height: usize,
}

impl<'a> Document<'a> {
    fn open(bytes: &'a [u8]) -> Option<Self> {
        let (_, trailer) = bytes.split_last_chunk::<TRAILER_LEN>()?;
        let [_, _, _, _, _, _, offset_size, reference_size, numbers @ ..] = trailer;
        let offset_size = usize::from(*offset_size);
        let reference_size = usize::from(*reference_size);
        let count = integer(numbers.get(..8)?)?;
        let top = integer(numbers.get(8..16)?)?;
        let table = integer(numbers.get(16..24)?)?;
        if !(1..=8).contains(&offset_size) || !(1..=8).contains(&reference_size) || top >= count {
            return None;
        }
        let end = bytes.len().checked_sub(TRAILER_LEN)?;
        let offsets = bytes.get(table..end)?.get(..count.checked_mul(offset_size)?)?;
        let objects = bytes.get(..table)?;
        Some(Self { objects, offsets, offset_size, reference_size, count, top })
    }

    /// Finds object `number` and checks that its contents lie within the document.
    fn object(&self, number: usize) -> Option<Object<'a>> {
        let place = number.checked_mul(self.offset_size)?;
        let offset = integer(self.offsets.get(place..)?.get(..self.offset_size)?)?;
        if offset < MAGIC.len() {
            return None;
        }
        let (&marker, rest) = self.objects.get(offset..)?.split_first()?;
        let (kind, short) = (marker >> 4, marker & 0x0f);
        let scalar = |length: usize, is_string| {
            let contents = rest.get(..length)?;
            Some(Object::Scalar { contents, is_string })
        };
        match kind {
            0x0 if matches!(short, 0x0 | 0x8 | 0x9) => scalar(0, false),
            0x1 if short <= 4 => scalar(1 << short, false),
            0x2 if matches!(short, 2 | 3) => scalar(1 << short, false),
            0x3 if short == 3 => scalar(8, false),
            0x8 => scalar(usize::from(short) + 1, false),
            0x4..=0x7 | 0xa | 0xd => {
                let (length, rest) = long_length(short, rest)?;
                self.sized(kind, length, rest)
            }
            _ => None,
        }
    }

    fn sized(&self, kind: u8, length: usize, rest: &'a [u8]) -> Option<Object<'a>> {
        let references = length.checked_mul(self.reference_size)?;
        Some(match kind {
            0x4 => Object::Scalar { contents: rest.get(..length)?, is_string: false },
            0x6 => {
                Object::Scalar { contents: rest.get(..length.checked_mul(2)?)?, is_string: true }
            }
            0xa => Object::Array { references: rest.get(..references)? },
            0xd => {
                let (keys, rest) = rest.split_at_checked(references)?;
                Object::Dictionary { keys, values: rest.get(..references)? }
            }
            _ => Object::Scalar { contents: rest.get(..length)?, is_string: true },
        })
    }

    /// Measures object `number`, each object once; `None` if something is wrong with it or below.
    fn measure(&self, number: usize, depth: usize, known: &mut [Known]) -> Option<Measure> {
        match *known.get(number)? {
            Known::Open => return None,
            Known::Measured(measure) if measure.height > depth => return None,
            Known::Measured(measure) => return Some(measure),
            Known::Nothing => {}
        }
        let below = depth.checked_sub(1)?;
        *known.get_mut(number)? = Known::Open;
        let mut total = Measure { weight: NODE_WEIGHT, height: 1 };
        match self.object(number)? {
            Object::Scalar { contents, .. } => total.weight += contents.len(),
            Object::Array { references } => {
                self.measure_all(references, below, known, &mut total)?;
            }
            Object::Dictionary { keys, values } => {
                for reference in keys.chunks_exact(self.reference_size) {
                    let key = self.object(integer(reference)?)?;
                    if !matches!(key, Object::Scalar { is_string: true, .. }) {
                        return None;
                    }
                }
                self.measure_all(keys, below, known, &mut total)?;
                self.measure_all(values, below, known, &mut total)?;
            }
        }
        *known.get_mut(number)? = Known::Measured(total);
        Some(total)
    }

    fn measure_all(
        &self,
        references: &[u8],
        depth: usize,
        known: &mut [Known],
        total: &mut Measure,
    ) -> Option<()> {
        for reference in references.chunks_exact(self.reference_size) {
            let part = self.measure(integer(reference)?, depth, known)?;
            total.weight = total.weight.checked_add(part.weight)?;
            total.height = total.height.max(part.height.checked_add(1)?);
            if total.weight > MAX_WEIGHT {
                return None;
            }
        }
        Some(())
    }
}

/// Reads the length of an object: the short one, or the integer object behind the marker.
fn long_length(short: u8, rest: &[u8]) -> Option<(usize, &[u8])> {
    if short < 0x0f {
        return Some((usize::from(short), rest));
    }
    let (&marker, rest) = rest.split_first()?;
    if !(0x10..=0x13).contains(&marker) {
        return None;
    }
    let (length, rest) = rest.split_at_checked(1 << (marker & 0x0f))?;
    Some((integer(length)?, rest))
}

/// Reads a big-endian number of up to 8 bytes.
fn integer(bytes: &[u8]) -> Option<usize> {
    let mut value: u64 = 0;
    for &byte in bytes {
        value = value.checked_mul(256)? | u64::from(byte);
    }
    usize::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use plist::{Dictionary, Value};

    /// Puts objects together, the first being the top, with 1-byte offsets and references.
    fn document(objects: &[&[u8]]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let mut offsets = Vec::new();
        for object in objects {
            offsets.push(u8::try_from(bytes.len()).unwrap());
            bytes.extend_from_slice(object);
        }
        let table = u8::try_from(bytes.len()).unwrap();
        bytes.extend_from_slice(&offsets);
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 1, 1]);
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, u8::try_from(objects.len()).unwrap()]);
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, table]);
        bytes
    }

    fn accepted(objects: &[&[u8]]) -> bool {
        is_dictionary(&document(objects), 8)
    }

    /// A record like libimobiledevice's, written by a library.
    fn record() -> Vec<u8> {
        let mut record = Dictionary::new();
        record.insert("HostID".into(), "0123-4567".into());
        record.insert("HostCertificate".into(), Value::Data(vec![0x2d; 900]));
        record.insert("Wörter".into(), "\u{1f4f1}".into());
        record.insert("WiFi".into(), Value::Array(vec![true.into(), 1.5.into(), 70000.into()]));
        let mut bytes = Vec::new();
        Value::Dictionary(record).to_writer_binary(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn real_record_is_accepted() {
        assert!(is_dictionary(&record(), 8));
        assert!(accepted(&[&[0xd0]]), "an empty dictionary");
        assert!(accepted(&[&[0xd1, 1, 2], b"\x51a", &[0x09]]));
    }

    #[test]
    fn other_top_objects_are_refused() {
        assert!(!accepted(&[&[0xa0]]));
        assert!(!accepted(&[b"\x51a"]));
        assert!(!accepted(&[]));
    }

    #[test]
    fn keys_must_be_strings() {
        assert!(!accepted(&[&[0xd1, 1, 2], &[0x10, 1], &[0x09]]));
        assert!(!accepted(&[&[0xd1, 1, 2], b"\x41a", &[0x09]]));
    }

    #[test]
    fn prefixes_and_changed_bytes_are_survived() {
        let record = record();
        for end in 0..record.len() {
            assert!(!is_dictionary(&record[..end], 8), "{end}");
        }
        let mut changed = record.clone();
        for place in 0..changed.len() {
            for value in [0x00, 0x0f, 0x7f, 0xdf, 0xff] {
                changed[place] = value;
                let _ = is_dictionary(&changed, 8);
            }
            changed[place] = record[place];
        }
    }

    #[test]
    fn circles_are_refused() {
        assert!(!accepted(&[&[0xd1, 1, 0], b"\x51a"]), "contains itself");
        assert!(!accepted(&[&[0xd1, 1, 2], b"\x51a", &[0xa1, 3], &[0xa1, 2]]));
    }

    #[test]
    fn depth_is_bounded_along_the_longest_path() {
        let chain: &[&[u8]] = &[&[0xd1, 1, 2], b"\x51a", &[0xa1, 3], &[0xa1, 4], &[0x09]];
        assert!(is_dictionary(&document(chain), 4));
        assert!(!is_dictionary(&document(chain), 3));
        // Object 3 is measured first near the top, then met again further down.
        let twice: &[&[u8]] =
            &[&[0xd2, 1, 2, 3, 4], b"\x51a", b"\x51b", &[0xa1, 5], &[0xa1, 3], &[0x09]];
        assert!(is_dictionary(&document(twice), 4));
        assert!(!is_dictionary(&document(twice), 3));
    }

    #[test]
    fn expansion_is_bounded() {
        // Each array holds the next one 15 times: 15^5 values in 100 bytes.
        let row = |next: u8| {
            let mut array = vec![0xaf, 0x10, 15];
            array.extend([next; 15]);
            array
        };
        let rows: Vec<Vec<u8>> = (3..8).map(row).collect();
        let mut objects: Vec<&[u8]> = vec![&[0xd1, 1, 2], b"\x51a"];
        objects.extend(rows.iter().map(Vec::as_slice));
        objects.push(&[0x09]);
        assert!(!accepted(&objects));
        // Three of these rows are harmless.
        let mut objects: Vec<&[u8]> = vec![&[0xd1, 1, 2], b"\x51a"];
        let rows: Vec<Vec<u8>> = (3..6).map(row).collect();
        objects.extend(rows.iter().map(Vec::as_slice));
        objects.push(&[0x09]);
        assert!(accepted(&objects));
    }

    #[test]
    fn lengths_beyond_the_document_are_refused() {
        assert!(!accepted(&[&[0xd1, 1, 2], b"\x51a", &[0x4f, 0x11, 0xff, 0xff]]));
        assert!(!accepted(&[
            &[0xd1, 1, 2],
            b"\x51a",
            &[0x4f, 0x13, 255, 255, 255, 255, 255, 255, 255, 255]
        ]));
        assert!(!accepted(&[&[0xdf, 0x13, 0x7f, 255, 255, 255, 255, 255, 255, 255]]));
        assert!(!accepted(&[&[0xd1, 1, 9], b"\x51a"]), "a reference to nothing");
        let mut huge = document(&[&[0xd0]]);
        let count = huge.len() - 24;
        huge[count..count + 8].fill(0x7f);
        assert!(!is_dictionary(&huge, 8));
    }
}
