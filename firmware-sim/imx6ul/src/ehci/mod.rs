//! The USB host controller: EHCI, as ChipIdea built it into this chip (and into the i.MX RT10xx).
//!
//! One device at the root port, at high speed; three queues, one transfer each. Names and numbers are
//! those of the EHCI specification 1.0; ChipIdea's own is the mode register alone (i.MX 6UltraLite
//! reference manual, chapter 56).
//!
//! Left out: full-speed devices (ChipIdea splits their transactions by itself, which QEMU does not
//! play), the PHY and the port's power, periodic transfers.

mod port;
mod schedule;

use crate::chip::UsbRegisters;
use crate::registers::{address_of, address_of_buffer, hand_over};
use core::task::Poll;
use port::RootPort;
use schedule::{Descriptor, Endpoint, Pid, Queue, TRANSFER_MAX};
use usbmux_dongle::usb::{BulkEndpoint, HostController, Piece, Port, Setup, TransferError};

/// Bytes of one piece, each way: a frame of the dongle's with its header, in whole packets.
pub(crate) const PIECE: usize = 9 * 512;
/// Bytes of a control transfer's data stage at most; more are not asked for.
pub(crate) const CONTROL_DATA: usize = 512;
const _: () = assert!(PIECE <= TRANSFER_MAX && CONTROL_DATA <= TRANSFER_MAX);

/// Times that a bit of the controller's is looked at before it is given up: it changes within a
/// microframe, and a look takes longer than ten nanoseconds.
const LOOKS: u32 = 1_000_000;

/// Offsets of the registers: the operational ones (§2.3) begin at 0x140.
mod register {
    pub(super) const COMMAND: usize = 0x140;
    pub(super) const STATUS: usize = 0x144;
    pub(super) const INTERRUPTS: usize = 0x148;
    pub(super) const ASYNC_LIST: usize = 0x158;
    pub(super) const CONFIGURED: usize = 0x180;
    pub(super) const PORT: usize = 0x184;
    /// ChipIdea's.
    pub(super) const MODE: usize = 0x1a8;
}

mod command {
    pub(super) const RUN: u32 = 1 << 0;
    pub(super) const RESET: u32 = 1 << 1;
    pub(super) const ASYNC: u32 = 1 << 5;
}

/// Bits of the status, and of what interrupts.
mod status {
    pub(super) const TRANSFER: u32 = 1 << 0;
    pub(super) const TRANSFER_ERROR: u32 = 1 << 1;
    pub(super) const PORT_CHANGE: u32 = 1 << 2;
    pub(super) const FRAME_LIST_ROLLOVER: u32 = 1 << 3;
    pub(super) const HOST_ERROR: u32 = 1 << 4;
    pub(super) const ASYNC_RUNS: u32 = 1 << 15;
    /// What is cleared by writing it.
    pub(super) const ALL: u32 = 0x3f;
}

const INTERRUPTS: u32 = status::TRANSFER
    | status::TRANSFER_ERROR
    | status::PORT_CHANGE
    | status::FRAME_LIST_ROLLOVER
    | status::HOST_ERROR;

/// The memory that the controller shares, for a static.
pub(crate) struct Memory {
    control: Queue,
    input: Queue,
    output: Queue,
    setup_stage: Descriptor,
    data_stage: Descriptor,
    status_stage: Descriptor,
    input_transfer: Descriptor,
    output_transfer: Descriptor,
    setup: [u8; 8],
    control_data: [u8; CONTROL_DATA],
    input_data: [u8; PIECE],
    output_data: [u8; PIECE],
}

impl Memory {
    /// Unused.
    pub(crate) const fn new() -> Self {
        Memory {
            control: Queue::new(),
            input: Queue::new(),
            output: Queue::new(),
            setup_stage: Descriptor::new(),
            data_stage: Descriptor::new(),
            status_stage: Descriptor::new(),
            input_transfer: Descriptor::new(),
            output_transfer: Descriptor::new(),
            setup: [0; 8],
            control_data: [0; CONTROL_DATA],
            input_data: [0; PIECE],
            output_data: [0; PIECE],
        }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

/// The controller.
pub(crate) struct Ehci {
    registers: UsbRegisters,
    port: RootPort,
    memory: &'static mut Memory,
    /// wMaxPacketSize of the IN endpoint, 0 while it is not open.
    input_packet: u16,
    /// Bytes of the data stage that were asked for, while a control transfer is under way.
    control: Option<usize>,
    receiving: bool,
    sending: bool,
}

impl Ehci {
    /// Starts the controller.
    pub(crate) fn new(registers: UsbRegisters, memory: &'static mut Memory) -> Self {
        /// A host, not a device.
        const HOST_MODE: u32 = 3;
        registers.write(register::COMMAND, command::RESET);
        wait(|| registers.read(register::COMMAND) & command::RESET == 0);
        registers.write(register::MODE, HOST_MODE);
        memory.control.link(&memory.input);
        memory.input.link(&memory.output);
        memory.output.link(&memory.control);
        let mut ehci = Ehci {
            registers,
            port: RootPort::new(),
            memory,
            input_packet: 0,
            control: None,
            receiving: false,
            sending: false,
        };
        ehci.close();
        ehci.registers.write(register::ASYNC_LIST, address_of(&ehci.memory.control));
        ehci.registers.write(register::INTERRUPTS, INTERRUPTS);
        // No interrupt threshold: each transfer is told when it ends.
        ehci.registers.write(register::COMMAND, command::RUN);
        ehci.registers.write(register::CONFIGURED, 1);
        ehci.port.power(&ehci.registers);
        ehci.run_schedule();
        ehci
    }

    /// Takes back the interrupt; to be called before a look at the transfers, so that none that
    /// completes after it is slept through.
    pub(crate) fn acknowledge(&mut self) {
        let pending = self.registers.read(register::STATUS) & status::ALL;
        self.registers.write(register::STATUS, pending);
    }

    /// Whether the port needs a look at a time even without an interrupt.
    pub(crate) fn due(&self) -> Option<usbmux_core::Instant> {
        self.port.due()
    }

    /// Ends all transfers and forgets the endpoints.
    fn close(&mut self) {
        self.stop_schedule();
        let nobody = Endpoint { device: 0, number: 0, max_packet: 64, control: true };
        self.memory.control.open(nobody, true);
        self.memory.input.open(nobody, false);
        self.memory.output.open(nobody, false);
        self.input_packet = 0;
        (self.control, self.receiving, self.sending) = (None, false, false);
    }

    fn stop_schedule(&mut self) {
        let bits = self.registers.read(register::COMMAND);
        self.registers.write(register::COMMAND, bits & !command::ASYNC);
        wait(|| self.registers.read(register::STATUS) & status::ASYNC_RUNS == 0);
    }

    fn run_schedule(&mut self) {
        hand_over();
        let bits = self.registers.read(register::COMMAND);
        self.registers.write(register::COMMAND, bits | command::ASYNC);
    }

    /// Starts what is prepared. Nothing more is needed on silicon; QEMU looks at its schedule at once
    /// when the interrupt enables are written, and within milliseconds otherwise.
    fn nudge(&self) {
        hand_over();
        self.registers.write(register::INTERRUPTS, INTERRUPTS);
    }

    /// A transfer's failure, as the port shows it.
    fn failure(&mut self, error: TransferError) -> TransferError {
        match self.port.is_connected(&self.registers) {
            true => error,
            false => TransferError::Gone,
        }
    }
}

/// Waits for what happens within microseconds; gives up after [`LOOKS`], since then the controller is
/// broken and nothing that follows can work.
fn wait(is_so: impl Fn() -> bool) {
    for _ in 0..LOOKS {
        if is_so() {
            return;
        }
    }
}

impl HostController for Ehci {
    fn port(&mut self) -> Port {
        let (port, unplugged) = self.port.poll(&self.registers);
        if unplugged {
            self.close();
            self.run_schedule();
        }
        port
    }

    fn reset_port(&mut self) {
        self.close();
        self.run_schedule();
        self.port.reset(&self.registers);
    }

    fn start_control(&mut self, address: u8, max_packet: u8, setup: Setup) {
        if self.control.is_some() {
            self.stop_schedule();
            self.memory.control.idle();
            self.run_schedule();
        }
        let length = usize::from(setup.length).min(CONTROL_DATA);
        let endpoint =
            Endpoint { device: address, number: 0, max_packet: max_packet.into(), control: true };
        self.memory.control.open(endpoint, true);
        let Memory {
            setup: bytes,
            control_data,
            setup_stage,
            data_stage,
            status_stage,
            control,
            ..
        } = &mut *self.memory;
        let ([value_low, value_high], [index_low, index_high]) =
            (setup.value.to_le_bytes(), setup.index.to_le_bytes());
        let [length_low, length_high, ..] = length.to_le_bytes();
        *bytes = [
            setup.request_type,
            setup.request,
            value_low,
            value_high,
            index_low,
            index_high,
            length_low,
            length_high,
        ];
        if length == 0 {
            status_stage.prepare(Pid::In, 0, 0, true, None);
            setup_stage.prepare(Pid::Setup, address_of_buffer(bytes), 8, false, Some(status_stage));
            data_stage.prepare(Pid::In, 0, 0, true, None);
        } else {
            status_stage.prepare(Pid::Out, 0, 0, true, None);
            let data = address_of_buffer(control_data);
            data_stage.prepare(Pid::In, data, length, true, Some(status_stage));
            setup_stage.prepare(Pid::Setup, address_of_buffer(bytes), 8, false, Some(data_stage));
        }
        hand_over();
        control.start(setup_stage);
        self.control = Some(length);
        self.nudge();
    }

    fn poll_control(&mut self, data: &mut [u8]) -> Poll<Result<usize, TransferError>> {
        let Some(asked) = self.control else { return Poll::Pending };
        let Memory { setup_stage, data_stage, status_stage, .. } = &*self.memory;
        let data_left = if asked == 0 { Some(Ok(0)) } else { data_stage.outcome() };
        let stages = [setup_stage.outcome(), data_left, status_stage.outcome()];
        if let Some(error) = stages.iter().find_map(|stage| stage.and_then(Result::err)) {
            self.control = None;
            return Poll::Ready(Err(self.failure(error)));
        }
        let [Some(Ok(_)), Some(Ok(left)), Some(Ok(_))] = stages else { return Poll::Pending };
        self.control = None;
        hand_over();
        let arrived = self.memory.control_data.get(..asked - left.min(asked)).unwrap_or_default();
        let taken = arrived.len().min(data.len());
        for (place, byte) in data.iter_mut().zip(arrived) {
            *place = *byte;
        }
        Poll::Ready(Ok(taken))
    }

    fn open_bulk(&mut self, address: u8, input: BulkEndpoint, output: BulkEndpoint) {
        self.stop_schedule();
        (self.receiving, self.sending) = (false, false);
        let endpoint = |bulk: BulkEndpoint| Endpoint {
            device: address,
            number: bulk.address,
            max_packet: bulk.max_packet,
            control: false,
        };
        self.memory.input.open(endpoint(input), false);
        self.memory.output.open(endpoint(output), false);
        self.input_packet = input.max_packet;
        self.run_schedule();
    }

    fn request(&mut self) {
        let packet = usize::from(self.input_packet);
        if self.receiving || packet == 0 {
            return;
        }
        self.receiving = true;
        let length = PIECE / packet * packet;
        let Memory { input, input_transfer, input_data, .. } = &mut *self.memory;
        input_transfer.prepare(Pid::In, address_of_buffer(input_data), length, false, None);
        input.idle();
        hand_over();
        input.start(input_transfer);
        self.nudge();
    }

    fn receive(&mut self) -> Poll<Result<Piece<'_>, TransferError>> {
        if !self.receiving {
            return Poll::Pending;
        }
        let Some(outcome) = self.memory.input_transfer.outcome() else { return Poll::Pending };
        self.receiving = false;
        let left = match outcome {
            Ok(left) => left,
            Err(error) => return Poll::Ready(Err(self.failure(error))),
        };
        hand_over();
        let packet = usize::from(self.input_packet).max(1);
        let asked = PIECE / packet * packet;
        let bytes = self.memory.input_data.get(..asked - left.min(asked)).unwrap_or_default();
        Poll::Ready(Ok(Piece { bytes, ends_transfer: left > 0 }))
    }

    fn space(&mut self) -> Option<&mut [u8]> {
        (!self.sending).then_some(&mut self.memory.output_data[..])
    }

    fn send(&mut self, length: usize) {
        if self.sending {
            return;
        }
        self.sending = true;
        let length = length.min(PIECE);
        let Memory { output, output_transfer, output_data, .. } = &mut *self.memory;
        output_transfer.prepare(Pid::Out, address_of_buffer(output_data), length, false, None);
        output.idle();
        hand_over();
        output.start(output_transfer);
        self.nudge();
    }

    fn poll_sent(&mut self) -> Poll<Result<(), TransferError>> {
        if !self.sending {
            return Poll::Ready(Ok(()));
        }
        let Some(outcome) = self.memory.output_transfer.outcome() else { return Poll::Pending };
        self.sending = false;
        Poll::Ready(match outcome {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failure(error)),
        })
    }
}
