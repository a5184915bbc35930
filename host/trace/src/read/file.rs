//! From a file, pcap or pcapng, to its packets. What a packet means is for other files.

use std::io::{self, Cursor, ErrorKind, Read};
use std::time::Duration;

use pcap_file::Endianness;
use pcap_file::pcap::{PcapReadError, PcapReader, PcapTsResolution};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::{Block, PcapNgReadError, PcapNgReader, PcapNgState};

use super::error::ReadError;

/// Largest packet or block that is taken; a USB transfer of Linux has at most 16 MB, but captures of
/// more than 256 KiB a packet are not in use.
const LARGEST_BLOCK: usize = 2 << 20;

/// LINKTYPE_USB_LINUX: usbmon's 48 bytes in front.
pub(super) const USB_LINUX: u32 = 189;
/// LINKTYPE_USB_LINUX_MMAPPED: usbmon's 64 bytes in front.
pub(super) const USB_LINUX_MMAPPED: u32 = 220;
/// LINKTYPE_IPV6, which our own traces have.
pub(super) const IPV6: u32 = 229;

/// A packet of a capture.
#[derive(Debug)]
pub(super) struct Packet {
    /// Since 1970.
    pub(super) at: Duration,
    /// What its bytes begin with.
    pub(super) link: u32,
    /// Which interface of the file it came from, from 0, over all sections.
    pub(super) interface: u32,
    /// Whether the machine that captured it was big-endian.
    pub(super) big_endian: bool,
    /// What of it is in the file.
    pub(super) data: Vec<u8>,
    /// Its comments.
    pub(super) comments: Vec<String>,
}

/// What a file holds that matters here.
#[derive(Debug)]
pub(super) enum Entry {
    /// A packet.
    Packet(Packet),
    /// An interface, with its name.
    Interface { number: u32, name: String },
    /// So many packets were lost in capturing, in all, on one interface.
    Lost(u64),
}

/// The first bytes, which tell the kind of file, and the others.
type Input<R> = io::Chain<Cursor<[u8; MAGIC]>, R>;

/// Bytes that tell pcap from pcapng.
const MAGIC: usize = 4;
/// A section header's block type, which reads the same in both byte orders.
const PCAPNG: [u8; MAGIC] = [0x0a, 0x0d, 0x0d, 0x0a];

/// The packets of one file.
pub(super) enum Packets<R: Read> {
    Pcap(Box<PcapReader<Input<R>>>),
    PcapNg(Box<PcapNgReader<Input<R>>>, Sections),
}

/// Interfaces of a pcapng file are counted anew in each section.
#[derive(Debug, Default)]
pub(super) struct Sections {
    /// Interfaces of the sections before.
    before: u32,
    /// Interfaces of the current one that have been told.
    here: u32,
}

impl<R: Read> Packets<R> {
    /// Recognises the kind of file.
    pub(super) fn new(mut input: R) -> Result<Self, ReadError> {
        let mut magic = [0; MAGIC];
        input.read_exact(&mut magic).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => ReadError::NoCapture,
            _ => ReadError::Io(error.to_string()),
        })?;
        let whole = Cursor::new(magic).chain(input);
        if magic == PCAPNG {
            let reader = PcapNgReader::with_capacity(whole, LARGEST_BLOCK);
            let reader = reader.map_err(|_| ReadError::NoCapture)?;
            return Ok(Packets::PcapNg(Box::new(reader), Sections::default()));
        }
        let reader = PcapReader::with_capacity(whole, LARGEST_BLOCK);
        Ok(Packets::Pcap(Box::new(reader.map_err(|_| ReadError::NoCapture)?)))
    }

    /// Takes the next entry; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        match self {
            Packets::Pcap(reader) => pcap_packet(reader),
            Packets::PcapNg(reader, sections) => pcapng_entry(reader, sections),
        }
    }
}

fn pcap_packet<R: Read>(reader: &mut PcapReader<R>) -> Result<Option<Entry>, ReadError> {
    let header = reader.header();
    // Raw: a snapped packet is longer than the snap length, which the other way takes for a fault.
    let packet = match reader.next_raw_packet() {
        None => return Ok(None),
        Some(Ok(packet)) => packet,
        Some(Err(PcapReadError::Io(error))) => return Err(ReadError::from_io(&error)),
        Some(Err(error)) => return Err(ReadError::Damaged(error.to_string())),
    };
    let nanos = match header.ts_resolution {
        PcapTsResolution::MicroSecond => u64::from(packet.ts_frac) * 1000,
        PcapTsResolution::NanoSecond => u64::from(packet.ts_frac),
    };
    Ok(Some(Entry::Packet(Packet {
        at: Duration::from_secs(u64::from(packet.ts_sec)) + Duration::from_nanos(nanos),
        link: u32::from(header.datalink),
        interface: 0,
        big_endian: header.endianness == Endianness::Big,
        data: packet.data.into_owned(),
        comments: Vec::new(),
    })))
}

fn pcapng_entry<R: Read>(
    reader: &mut PcapNgReader<R>,
    sections: &mut Sections,
) -> Result<Option<Entry>, ReadError> {
    loop {
        // Raw, so that a block of no interest may be as odd as it likes.
        let (raw, state) = match reader.next_raw_block() {
            None => return Ok(None),
            Some(Ok(block)) => block,
            Some(Err(PcapNgReadError::Io(error))) => return Err(ReadError::from_io(&error)),
            Some(Err(error)) => return Err(ReadError::Damaged(error.to_string())),
        };
        let kind = raw.type_;
        match raw.try_into_block(state) {
            Ok(block) => {
                if let Some(entry) = sections.entry(block, state)? {
                    return Ok(Some(entry));
                }
            }
            Err(error) if PACKETS.contains(&kind) => {
                return Err(ReadError::Damaged(error.to_string()));
            }
            Err(_) => {}
        }
    }
}

/// Block types of packets: obsolete, simple, enhanced.
const PACKETS: [u32; 3] = [2, 3, 6];

impl Sections {
    fn entry(&mut self, block: Block<'_>, state: &PcapNgState) -> Result<Option<Entry>, ReadError> {
        let packet = match block {
            Block::SectionHeader(_) => {
                self.before += std::mem::take(&mut self.here);
                return Ok(None);
            }
            Block::InterfaceDescription(block) => {
                let number = self.before + self.here;
                self.here += 1;
                let name = block.options.iter().find_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                    _ => None,
                });
                return Ok(Some(Entry::Interface { number, name: name.unwrap_or_default() }));
            }
            Block::InterfaceStatistics(block) => {
                let lost = block.options.iter().filter_map(|option| match option {
                    InterfaceStatisticsOption::IsbIfDrop(lost)
                    | InterfaceStatisticsOption::IsbOsDrop(lost) => Some(*lost),
                    _ => None,
                });
                return Ok(Some(Entry::Lost(lost.max().unwrap_or(0))));
            }
            Block::EnhancedPacket(block) => {
                let comments = block.options.iter().filter_map(|option| match option {
                    EnhancedPacketOption::Common(CommonOption::Comment(text)) => {
                        Some(text.to_string())
                    }
                    _ => None,
                });
                let comments = comments.collect();
                let data = block.data.into_owned();
                self.packet(state, block.interface_id, block.timestamp, data, comments)
            }
            Block::Packet(block) => {
                let data = block.data.into_owned();
                let interface = u32::from(block.interface_id);
                self.packet(state, interface, block.timestamp, data, Vec::new())
            }
            Block::SimplePacket(_) => {
                return Err(ReadError::Damaged("packets without a time".to_owned()));
            }
            _ => return Ok(None),
        };
        Ok(packet.map(Entry::Packet))
    }

    fn packet(
        &self,
        state: &PcapNgState,
        interface: u32,
        at: Duration,
        data: Vec<u8>,
        comments: Vec<String>,
    ) -> Option<Packet> {
        let description = state.interfaces().get(interface as usize)?;
        Some(Packet {
            at,
            link: u32::from(description.linktype),
            interface: self.before + interface,
            big_endian: state.endianness() == Endianness::Big,
            data,
            comments,
        })
    }
}
