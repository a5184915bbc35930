//! Packets become blocks of pcapng, within a limit.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{Block, PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, Endianness};

use super::comment;
use super::packet::Packet;
use super::record::{Attachment, Record, What};

/// What the last packet of a file that is full may take.
const LAST_PACKET: u64 = 512;
/// How much is gathered before it is handed on.
const CHUNK: usize = 64 * 1024;

/// Writes a trace.
pub struct Writer<W> {
    out: W,
    /// Makes each block in memory, so that only whole ones are handed on.
    blocks: PcapNgWriter<Vec<u8>>,
    /// Whole blocks that were not handed on yet.
    chunk: Vec<u8>,
    /// Bytes of all blocks so far.
    len: u64,
    limit: u64,
    full: bool,
    packet: Packet,
    comment: String,
}

impl<W: Write> Writer<W> {
    /// Begins a trace of at most `limit` bytes; `program` is who writes it.
    ///
    /// # Errors
    /// Not even the beginning can be written.
    pub fn new(out: W, program: &str, limit: u64) -> io::Result<Self> {
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(program))],
            ..SectionHeaderBlock::default()
        };
        let blocks = PcapNgWriter::with_section_header(Vec::new(), section).map_err(invalid)?;
        let mut writer = Self {
            out,
            blocks,
            chunk: Vec::new(),
            len: 0,
            limit: limit.saturating_sub(LAST_PACKET),
            full: false,
            packet: Packet::default(),
            comment: String::new(),
        };
        writer.take_block();
        writer.flush()?;
        Ok(writer)
    }

    /// Whether the limit is reached: nothing more will be written.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Writes one record; to be sure that it is out, [`flush`](Self::flush). When the limit is
    /// reached, a last packet says so instead.
    ///
    /// # Errors
    /// The output does not take it.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        if self.full {
            return Ok(());
        }
        if let What::Attached(attachment) = &record.what {
            self.block(interface(attachment).into_block())?;
        }
        self.packet.make(record.phone, &record.what);
        comment::write(&mut self.comment, &record.what);
        self.packet(record, comment::hint(&record.what))?;
        if self.full {
            self.packet.say(record.phone, "trace: its limit is reached");
            self.comment = "usbmux TRACE event=limit".to_owned();
            (self.full, self.limit) = (false, u64::MAX);
            self.packet(record, None)?;
            self.full = true;
        }
        if self.chunk.len() >= CHUNK { self.hand_on() } else { Ok(()) }
    }

    /// Hands everything on.
    ///
    /// # Errors
    /// The output does not take it.
    pub fn flush(&mut self) -> io::Result<()> {
        self.hand_on()?;
        self.out.flush()
    }

    fn packet(&mut self, record: &Record, hint: Option<String>) -> io::Result<()> {
        // Of a phone that came after the limit nothing is known.
        let known = self.blocks.interfaces().len();
        if record.phone as usize >= known {
            return Ok(());
        }
        let ours = Cow::Owned(std::mem::take(&mut self.comment));
        let mut options = vec![EnhancedPacketOption::Common(CommonOption::Comment(ours))];
        if let Some(hint) = hint {
            options.push(EnhancedPacketOption::Common(CommonOption::Comment(hint.into())));
        }
        options.push(EnhancedPacketOption::Flags(self.packet.flags));
        let bytes = std::mem::take(&mut self.packet.bytes);
        let block = EnhancedPacketBlock {
            interface_id: record.phone,
            timestamp: record.at,
            original_len: self.packet.original_len,
            data: Cow::Borrowed(&bytes),
            options,
        };
        let done = self.block(block.into_block());
        self.packet.bytes = bytes;
        done
    }

    fn block(&mut self, block: Block<'_>) -> io::Result<()> {
        if !self.full {
            self.blocks.write_block(&block).map_err(invalid)?;
            self.take_block();
        }
        Ok(())
    }

    /// Takes the block that was made, if there is room for it.
    fn take_block(&mut self) {
        let block = self.blocks.get_mut();
        let len = self.len + block.len() as u64;
        if len > self.limit {
            self.full = true;
        } else {
            self.len = len;
            self.chunk.extend_from_slice(block);
        }
        block.clear();
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.chunk);
        self.chunk.clear();
        written
    }
}

impl<W> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("len", &self.len).finish_non_exhaustive()
    }
}

fn interface(attachment: &Attachment) -> InterfaceDescriptionBlock<'_> {
    let Attachment { udid, speed, .. } = attachment;
    let mut options = vec![
        InterfaceDescriptionOption::IfName(Cow::Borrowed(udid)),
        InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
    ];
    if *speed > 0 {
        options.push(InterfaceDescriptionOption::IfSpeed(*speed));
    }
    InterfaceDescriptionBlock { linktype: DataLink::IPV6, snaplen: 0, options }
}

/// A block that cannot be made; of ours only one whose time is beyond the year 2554.
fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
