//! The socket protocol with one client, until it hangs up or becomes the stream of a connection.
//!
//! Requests are answered one after the other, in their order, however they were sliced or
//! pipelined. A client that does not read its answers makes only itself wait; one that does not
//! read its events is hung up on.
//!
//! What requests mean and which form answers take is decided in `usbmux_core::session`; bytes are
//! made in `codec`; a connected socket belongs to `relay`.

use std::future::{Future, poll_fn};
use std::io;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use smol::future::yield_now;
use smol::io::{AsyncWrite, AsyncWriteExt};
use usbmux_core::session::{
    Client, Device, Envelope, Event, Fault, Form, Header, Listener, Reply, Request, ResultCode,
    Session, Verdict,
};

use super::ends::Hearer;
use super::limits::{MAX_DISCARDED, MAX_NAME, MAX_TOKEN, MAX_UNREAD_EVENTS};
use super::records::Records;
use super::registry::{
    ConnectFailure, Connection, DeviceEvent, ListenerInfo, Phone, Registry, Subscription,
};
use crate::codec::{self, Body};
use crate::stream::ClientStream;
use inbox::{Inbox, Message};
pub use unread::UnreadAnswers;

mod inbox;
mod unread;

/// What every session needs to know of the others.
#[derive(Clone)]
pub struct Common {
    /// The phones and the listeners.
    pub registry: Registry,
    /// The pair records.
    pub records: Records,
    /// The memory for answers that nobody reads.
    pub unread: UnreadAnswers,
}

/// Serves one client. `number` tells it apart from the other clients present; `spoke` is called
/// when it has made its first request.
pub async fn serve(client: ClientStream, number: u32, common: Common, spoke: impl FnOnce()) {
    let server = Server {
        client,
        inbox: Inbox::default(),
        session: Session::new(),
        number,
        common,
        end_token: None,
    };
    match server.run(spoke).await {
        Ok(()) => log::debug!("client {number}: end of the session"),
        Err(error) => log::debug!("client {number} is gone: {error}"),
    }
}

/// One client and what is needed to serve it.
struct Server {
    client: ClientStream,
    inbox: Inbox,
    session: Session,
    number: u32,
    common: Common,
    /// What the message in hand brought to ask for a reason by.
    end_token: Option<String>,
}

/// What came first while a phone was asked for a connection.
#[derive(Debug)]
enum Attempt<T> {
    Ended(Result<T, ConnectFailure>),
    /// The client made another request instead of waiting.
    Interrupted(Message),
    Gone,
}

/// What came first while a client listened.
enum Heard {
    Event(Option<DeviceEvent>),
    Request(Message),
    Gone,
}

impl Server {
    async fn run(mut self, spoke: impl FnOnce()) -> io::Result<()> {
        let mut spoke = Some(spoke);
        while let Some(message) = self.inbox.next(&mut self.client).await? {
            if let Some(spoke) = spoke.take() {
                spoke();
            }
            match self.handle(&message).await? {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(None) => break,
                ControlFlow::Break(Some(connection)) => {
                    log::debug!("client {}: connected", self.number);
                    connection.relay(self.client, self.inbox.into_bytes());
                    return Ok(());
                }
            }
            // A client with many requests and a fast reader would keep everybody else waiting.
            yield_now().await;
        }
        self.discard();
        Ok(())
    }

    /// Carries one message out; breaks when it was the last one, with the connection that takes
    /// the socket over, if one does.
    async fn handle(&mut self, message: &Message) -> io::Result<ControlFlow<Option<Connection>>> {
        let Message { header, body } = message;
        self.end_token = None;
        match self.session.receive(header) {
            Verdict::Decode(Form::Binary) => {
                let request = Request::from_binary(header.message, body);
                self.carry_out(header, request).await
            }
            Verdict::Decode(Form::Plist) => match Body::decode(body) {
                Ok(body) => {
                    let token = body.end_token().filter(|token| token.len() <= MAX_TOKEN);
                    self.end_token = token.map(str::to_owned);
                    if body.asks_end_reason() {
                        self.tell_end_reason(header).await?;
                        return Ok(ControlFlow::Continue(()));
                    }
                    self.carry_out(header, body.request()).await
                }
                Err(fault) => self.carry_out(header, Request::Invalid(fault)).await,
            },
            Verdict::Answer(envelope, code) => {
                self.answer(envelope, &Reply::Result(code)).await?;
                Ok(ControlFlow::Continue(()))
            }
            Verdict::AnswerAndClose(envelope, code) => {
                self.answer(envelope, &Reply::Result(code)).await?;
                Ok(ControlFlow::Break(None))
            }
            Verdict::Close => {
                log::debug!("client {}: a message of {} bytes", self.number, header.length);
                Ok(ControlFlow::Break(None))
            }
        }
    }

    async fn carry_out(
        &mut self,
        header: &Header,
        request: Request<'_>,
    ) -> io::Result<ControlFlow<Option<Connection>>> {
        let envelope = self.session.envelope(header);
        self.session.begin(&request);
        // A daemon that was started by this client has not seen its phones yet.
        if matches!(request, Request::ListDevices | Request::Listen(_)) {
            self.common.registry.first_look().await;
        }
        match request {
            Request::Listen(client) => {
                self.listen(envelope, client).await?;
                return Ok(ControlFlow::Break(None));
            }
            Request::Connect { device_id, port } => {
                return self.connect(envelope, device_id, port).await;
            }
            Request::ListDevices => {
                let phones = self.common.registry.phones();
                let devices: Vec<_> = phones.iter().map(device).collect();
                self.answer(envelope, &Reply::DeviceList(&devices)).await?;
            }
            Request::ListListeners => {
                let listeners = self.common.registry.listeners();
                let list: Vec<_> = listeners.iter().map(listener).collect();
                self.answer(envelope, &Reply::ListenerList(&list)).await?;
            }
            Request::Invalid(fault) => self.refuse(envelope, fault).await?,
            records => self.about_records(envelope, records).await?,
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Carries out the requests that need the disk, on another thread.
    async fn about_records(&mut self, envelope: Envelope, request: Request<'_>) -> io::Result<()> {
        let records = self.common.records.clone();
        match request {
            Request::ReadBuid => match records.on_a_thread(Records::buid).await {
                Ok(buid) => self.answer(envelope, &Reply::Buid(&buid)).await,
                Err(code) => self.answer(envelope, &Reply::Result(code)).await,
            },
            Request::ReadPairRecord { id } => {
                let id = id.to_owned();
                match records.on_a_thread(move |records| records.read(&id)).await {
                    Ok(data) => self.answer(envelope, &Reply::PairRecord(&data)).await,
                    Err(code) => self.answer(envelope, &Reply::Result(code)).await,
                }
            }
            Request::SavePairRecord { id, data, device_id } => {
                let (id, data) = (id.to_owned(), data.to_vec());
                let saved = records.on_a_thread(move |records| records.save(&id, &data)).await;
                let registry = &self.common.registry;
                if saved.is_ok()
                    && let Some(device_id) = device_id
                    && registry.phones().iter().any(|phone| phone.device_id == device_id)
                {
                    registry.paired(device_id);
                }
                self.answer(envelope, &Reply::Result(code(saved))).await
            }
            Request::DeletePairRecord { id } => {
                let id = id.to_owned();
                let deleted = records.on_a_thread(move |records| records.delete(&id)).await;
                self.answer(envelope, &Reply::Result(code(deleted))).await
            }
            _ => self.refuse(envelope, Fault::UnknownMessage).await,
        }
    }

    /// Tells why a connection ended; Result 2 if there is nothing to say.
    async fn tell_end_reason(&mut self, header: &Header) -> io::Result<()> {
        let envelope = self.session.envelope(header);
        let token = self.end_token.take();
        match token.and_then(|token| self.common.registry.end_reason(&token)) {
            Some(reason) => self.client.write_all(&codec::end_reason(envelope.tag, &reason)).await,
            None => self.answer(envelope, &Reply::Result(ResultCode::NO_RECORD)).await,
        }
    }

    async fn connect(
        &mut self,
        envelope: Envelope,
        device_id: u32,
        port: u16,
    ) -> io::Result<ControlFlow<Option<Connection>>> {
        let registry = self.common.registry.clone();
        match self.attempt(registry.connect(device_id, port)).await? {
            Attempt::Ended(Ok(mut connection)) => {
                if let Some(token) = self.end_token.take() {
                    connection.tell_end(Hearer::Token(token));
                }
                self.session.connected(ResultCode::OK);
                self.answer(envelope, &Reply::Result(ResultCode::OK)).await?;
                Ok(ControlFlow::Break(Some(connection)))
            }
            Attempt::Ended(Err(failure)) => {
                log::debug!("client {}: port {port} of phone {device_id}: {failure}", self.number);
                let code = match failure {
                    ConnectFailure::NoDevice => ResultCode::BAD_DEVICE,
                    _ => ResultCode::REFUSED,
                };
                self.session.connected(code);
                self.answer(envelope, &Reply::Result(code)).await?;
                Ok(ControlFlow::Continue(()))
            }
            Attempt::Interrupted(message) => {
                self.out_of_place(&message).await?;
                Ok(ControlFlow::Break(None))
            }
            Attempt::Gone => Ok(ControlFlow::Break(None)),
        }
    }

    /// Waits for a connection and at the same time for the client to give up. What the client
    /// sends meanwhile is kept: it is the beginning of the stream, unless it is a request.
    async fn attempt<T>(
        &mut self,
        attempt: impl Future<Output = Result<T, ConnectFailure>>,
    ) -> io::Result<Attempt<T>> {
        let mut attempt = pin!(attempt);
        let mut all_read = false;
        poll_fn(|cx| {
            if let Poll::Ready(ended) = attempt.as_mut().poll(cx) {
                return Poll::Ready(Ok(Attempt::Ended(ended)));
            }
            loop {
                if self.inbox.header().is_some_and(|header| header.looks_like_request())
                    && let Some(message) = self.inbox.take()
                {
                    return Poll::Ready(Ok(Attempt::Interrupted(message)));
                }
                if all_read || self.inbox.is_full() {
                    return Poll::Pending;
                }
                match self.inbox.poll_fill(cx, &mut self.client) {
                    Poll::Ready(Ok(0)) if self.client.hung_up() => {
                        return Poll::Ready(Ok(Attempt::Gone));
                    }
                    // It may have sent all it wants to say and wait for what the phone says.
                    Poll::Ready(Ok(0)) => all_read = true,
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Sends events until the client hangs up, says something, or falls behind.
    async fn listen(&mut self, envelope: Envelope, client: Client<'_>) -> io::Result<()> {
        let mut events = self.common.registry.subscribe(ListenerInfo {
            number: self.number,
            prog_name: client.prog_name.map(shortened),
            bundle_id: client.bundle_id.map(shortened),
            lib_version: client.lib_version,
        });
        let mut unsent = codec::reply(envelope, &Reply::Result(ResultCode::OK));
        loop {
            match self.hear(&mut events, &mut unsent).await? {
                Heard::Event(Some(event)) if unsent.len() < MAX_UNREAD_EVENTS => {
                    unsent.extend(codec::event(self.session.form(), &announced(&event)));
                }
                Heard::Event(_) => {
                    log::warn!("client {} does not read its events: hung up", self.number);
                    return Ok(());
                }
                Heard::Request(message) => {
                    drop(events);
                    self.client.write_all(&unsent).await?;
                    return self.out_of_place(&message).await;
                }
                Heard::Gone => return Ok(()),
            }
        }
    }

    /// Sends what is unsent, and waits for an event or for the client.
    async fn hear(&mut self, events: &mut Subscription, unsent: &mut Vec<u8>) -> io::Result<Heard> {
        let mut event = pin!(events.next());
        poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = poll_send(cx, &mut self.client, unsent) {
                return Poll::Ready(Err(error));
            }
            loop {
                if let Some(message) = self.inbox.take() {
                    return Poll::Ready(Ok(Heard::Request(message)));
                }
                match self.inbox.poll_fill(cx, &mut self.client) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Heard::Gone)),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
            event.as_mut().poll(cx).map(|event| Ok(Heard::Event(event)))
        })
        .await
    }

    /// Answers a request on a socket that takes none any more.
    async fn out_of_place(&mut self, message: &Message) -> io::Result<()> {
        match self.session.receive(&message.header) {
            Verdict::AnswerAndClose(envelope, code) => {
                self.answer(envelope, &Reply::Result(code)).await
            }
            _ => Ok(()),
        }
    }

    async fn refuse(&mut self, envelope: Envelope, fault: Fault) -> io::Result<()> {
        log::debug!("client {}: {fault}", self.number);
        self.answer(envelope, &Reply::Result(fault.code())).await
    }

    async fn answer(&mut self, envelope: Envelope, reply: &Reply<'_>) -> io::Result<()> {
        let bytes = codec::reply(envelope, reply);
        let written = match self.client.try_write(&bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            other => other?,
        };
        let rest = bytes.get(written..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(());
        }
        let Some(_held) = self.common.unread.hold(bytes.len()) else {
            log::warn!("client {} and others do not read their answers: hung up", self.number);
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        self.client.write_all(rest).await
    }

    /// Throws away what the client has sent and nobody will read.
    fn discard(&self) {
        let mut nowhere = [0; 8 * 1024];
        let mut left = MAX_DISCARDED;
        while let Ok(read @ 1..) = self.client.try_read(&mut nowhere)
            && left > 0
        {
            left = left.saturating_sub(read);
        }
    }
}

/// Sends as much as the client takes.
fn poll_send(
    cx: &mut Context<'_>,
    client: &mut ClientStream,
    unsent: &mut Vec<u8>,
) -> Poll<io::Result<()>> {
    while !unsent.is_empty() {
        let sent = std::task::ready!(Pin::new(&mut *client).poll_write(cx, unsent))?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        unsent.drain(..sent.min(unsent.len()));
    }
    Poll::Ready(Ok(()))
}

fn code(result: Result<(), ResultCode>) -> ResultCode {
    result.err().unwrap_or(ResultCode::OK)
}

fn device(phone: &Phone) -> Device<'_> {
    Device {
        device_id: phone.device_id,
        serial: &phone.serial,
        product_id: phone.product_id,
        location: phone.location_id,
        speed: phone.speed,
    }
}

fn announced(event: &DeviceEvent) -> Event<'_> {
    match event {
        DeviceEvent::Attached(phone) => Event::Attached(device(phone)),
        DeviceEvent::Detached(device_id) => Event::Detached(*device_id),
        DeviceEvent::Paired(device_id) => Event::Paired(*device_id),
    }
}

fn listener(who: &ListenerInfo) -> Listener<'_> {
    Listener {
        number: who.number,
        prog_name: who.prog_name.as_deref(),
        bundle_id: who.bundle_id.as_deref(),
        lib_version: who.lib_version,
    }
}

/// What of a client's name is told to other clients: it goes into their XML.
fn shortened(name: &str) -> String {
    let writable = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    name.chars().filter(writable).take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;
    use std::cell::Cell;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    use plist::Value;
    use smol::io::AsyncReadExt;
    use smol::{Async, LocalExecutor};
    use tempfile::TempDir;
    use usbmux_core::session::{HEADER_LEN, MessageKind};

    use crate::daemon::limits::MAX_UNREAD_ANSWERS;
    use crate::daemon::registry::Limits;

    /// A daemon without phones.
    struct Daemon {
        executor: Rc<LocalExecutor<'static>>,
        common: Common,
        last_number: Cell<u32>,
        _folder: TempDir,
    }

    impl Daemon {
        fn new() -> Self {
            let executor = Rc::new(LocalExecutor::new());
            let folder = tempfile::tempdir().unwrap();
            let common = Common {
                registry: Registry::new(Rc::clone(&executor), Limits::default()).unwrap(),
                records: Records::new(folder.path().join("lockdown")),
                unread: UnreadAnswers::default(),
            };
            Self { executor, common, last_number: Cell::new(0), _folder: folder }
        }

        fn client(&self) -> Async<UnixStream> {
            let (ours, theirs) = UnixStream::pair().unwrap();
            self.last_number.set(self.last_number.get() + 1);
            let number = self.last_number.get();
            let common = self.common.clone();
            let client = ClientStream::unix(ours).unwrap();
            self.executor.spawn(serve(client, number, common, || {})).detach();
            Async::new(theirs).unwrap()
        }

        fn run<T>(&self, story: impl Future<Output = T>) -> T {
            smol::block_on(self.executor.run(story))
        }
    }

    fn plist(tag: u32, content: &str) -> Vec<u8> {
        let body = format!("<plist version=\"1.0\"><dict>{content}</dict></plist>");
        let mut bytes = Header::new(1, MessageKind::Plist, tag, body.len()).emit().to_vec();
        bytes.extend_from_slice(body.as_bytes());
        bytes
    }

    fn request(tag: u32, message_type: &str) -> Vec<u8> {
        plist(tag, &format!("<key>MessageType</key><string>{message_type}</string>"))
    }

    fn binary(message: u8, tag: u8) -> [u8; 16] {
        [16, 0, 0, 0, 0, 0, 0, 0, message, 0, 0, 0, tag, 0, 0, 0]
    }

    fn binary_result(tag: u8, code: u8) -> [u8; 20] {
        [20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, tag, 0, 0, 0, code, 0, 0, 0]
    }

    async fn answer(client: &mut Async<UnixStream>) -> (u32, plist::Dictionary) {
        let mut header = [0; HEADER_LEN];
        client.read_exact(&mut header).await.unwrap();
        let header = Header::parse(&header);
        assert_eq!((header.version, header.message), (1, MessageKind::Plist));
        let mut body = vec![0; usize::try_from(header.length).unwrap() - HEADER_LEN];
        client.read_exact(&mut body).await.unwrap();
        (header.tag, codec::dictionary(&body, codec::MAX_ELEMENTS).unwrap())
    }

    async fn result(client: &mut Async<UnixStream>) -> (u32, u64) {
        let (tag, body) = answer(client).await;
        assert_eq!(body.get("MessageType"), Some(&Value::from("Result")));
        (tag, body.get("Number").unwrap().as_unsigned_integer().unwrap())
    }

    async fn rest(client: &mut Async<UnixStream>) -> Vec<u8> {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        rest
    }

    #[test]
    fn pipelined_requests_are_answered_in_their_order() {
        let daemon = Daemon::new();
        daemon.run(async {
            let mut sent = request(0, "ReadBUID");
            sent.extend(request(7, "ListDevices"));
            sent.extend(request(7, "Frobnicate"));
            sent.extend(request(9, "ListListeners"));
            let slicings = [sent.len(), 1, 17];
            for slice in slicings {
                let mut client = daemon.client();
                for piece in sent.chunks(slice) {
                    client.write_all(piece).await.unwrap();
                    yield_now().await;
                }
                client.get_ref().shutdown(Shutdown::Write).unwrap();
                let (tag, buid) = answer(&mut client).await;
                assert_eq!((tag, buid.get("BUID").unwrap().as_string().unwrap().len()), (0, 36));
                let (tag, list) = answer(&mut client).await;
                assert_eq!((tag, list.get("DeviceList")), (7, Some(&Value::Array(vec![]))));
                assert_eq!(result(&mut client).await, (7, 1));
                let (tag, list) = answer(&mut client).await;
                assert_eq!((tag, list.get("ListenerList")), (9, Some(&Value::Array(vec![]))));
                assert_eq!(rest(&mut client).await, []);
            }
        });
    }

    #[test]
    fn failed_connect_leaves_the_socket_usable() {
        let daemon = Daemon::new();
        daemon.run(async {
            let mut client = daemon.client();
            let connect = "<key>MessageType</key><string>Connect</string>\
                           <key>DeviceID</key><integer>99</integer>\
                           <key>PortNumber</key><integer>32498</integer>";
            let mut sent = plist(7, connect);
            sent.extend(request(8, "ListDevices"));
            client.write_all(&sent).await.unwrap();
            assert_eq!(result(&mut client).await, (7, 2));
            assert_eq!(answer(&mut client).await.0, 8);
        });
    }

    #[test]
    fn binary_clients_are_answered_in_binary() {
        let daemon = Daemon::new();
        daemon.run(async {
            for (sent, received) in [
                (binary(77, 5), binary_result(5, 1)),
                (binary(1, 5), binary_result(5, 1)),
                (binary(2, 5), binary_result(5, 2)),
                (binary(3, 5), binary_result(5, 0)),
            ] {
                let mut client = daemon.client();
                client.write_all(&sent).await.unwrap();
                let mut answer = [0; 20];
                client.read_exact(&mut answer).await.unwrap();
                assert_eq!(answer, received);
            }
        });
    }

    #[test]
    fn later_version_is_refused_and_the_socket_kept() {
        let daemon = Daemon::new();
        daemon.run(async {
            let mut client = daemon.client();
            let mut sent = request(7, "ListDevices");
            sent[4] = 2;
            sent.extend(request(8, "ListDevices"));
            client.write_all(&sent).await.unwrap();
            let mut refused = [0; 20];
            client.read_exact(&mut refused).await.unwrap();
            assert_eq!(refused, binary_result(7, 6));
            assert_eq!(answer(&mut client).await.0, 8);
        });
    }

    #[test]
    fn absurd_length_closes_after_what_was_asked_before() {
        let daemon = Daemon::new();
        daemon.run(async {
            for length in [0, 15, 65537, u32::MAX] {
                let mut client = daemon.client();
                let mut sent = request(7, "ListDevices");
                let mut absurd = request(8, "ListDevices");
                absurd[..4].copy_from_slice(&u32::to_le_bytes(length));
                sent.extend(absurd);
                client.write_all(&sent).await.unwrap();
                assert_eq!(answer(&mut client).await.0, 7);
                assert_eq!(rest(&mut client).await, [], "{length}");
            }
        });
    }

    #[test]
    fn listener_is_announced_and_told_events() {
        let daemon = Daemon::new();
        daemon.run(async {
            let mut plist_listener = daemon.client();
            let listen = "<key>MessageType</key><string>Listen</string>\
                          <key>ProgName</key><string>a&#27;b</string>\
                          <key>kLibUSBMuxVersion</key><integer>3</integer>";
            plist_listener.write_all(&plist(4, listen)).await.unwrap();
            assert_eq!(result(&mut plist_listener).await, (4, 0));
            let mut binary_listener = daemon.client();
            binary_listener.write_all(&binary(3, 5)).await.unwrap();
            let mut accepted = [0; 20];
            binary_listener.read_exact(&mut accepted).await.unwrap();

            let mut other = daemon.client();
            other.write_all(&request(1, "ListListeners")).await.unwrap();
            let (_, list) = answer(&mut other).await;
            let list = list.get("ListenerList").unwrap().as_array().unwrap();
            let names: Vec<_> =
                list.iter().map(|who| who.as_dictionary().unwrap().get("ID String")).collect();
            let (first, second) = (Value::from("1-ab"), Value::from("2-unknown"));
            assert_eq!(names, [Some(&first), Some(&second)]);

            daemon.common.registry.paired(9);
            let (tag, event) = answer(&mut plist_listener).await;
            assert_eq!((tag, event.get("MessageType")), (0, Some(&Value::from("Paired"))));
            let mut event = [0; 20];
            binary_listener.read_exact(&mut event).await.unwrap();
            assert_eq!(event, [20, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0]);
        });
    }

    #[test]
    fn further_request_of_a_listener_is_refused_and_ends_it() {
        let daemon = Daemon::new();
        daemon.run(async {
            let mut client = daemon.client();
            let mut sent = request(1, "Listen");
            sent.extend(request(2, "ListDevices"));
            sent.extend(request(3, "ListDevices"));
            client.write_all(&sent).await.unwrap();
            assert_eq!(result(&mut client).await, (1, 0));
            assert_eq!(result(&mut client).await, (2, 1));
            assert_eq!(rest(&mut client).await, []);
            assert!(daemon.common.registry.listeners().is_empty());
        });
    }

    #[test]
    fn listener_that_hangs_up_is_forgotten() {
        let daemon = Daemon::new();
        daemon.run(async {
            let mut client = daemon.client();
            client.write_all(&request(1, "Listen")).await.unwrap();
            assert_eq!(result(&mut client).await, (1, 0));
            assert_eq!(daemon.common.registry.listeners().len(), 1);
            drop(client);
            while !daemon.common.registry.listeners().is_empty() {
                yield_now().await;
            }
        });
    }

    #[test]
    fn listener_that_does_not_read_is_hung_up_on() {
        let daemon = Daemon::new();
        daemon.run(async {
            let mut slow = daemon.client();
            slow.write_all(&request(1, "Listen")).await.unwrap();
            let mut good = daemon.client();
            good.write_all(&request(1, "Listen")).await.unwrap();
            assert_eq!(result(&mut good).await, (1, 0));
            // Its socket and our bound together hold far less than these.
            for _ in 0..10_000 {
                daemon.common.registry.paired(9);
                assert_eq!(answer(&mut good).await.0, 0);
            }
            assert_eq!(daemon.common.registry.listeners().len(), 1, "only the good one is left");
            let told = rest(&mut slow).await.len();
            assert!(told > 0 && told < 2 * 1024 * 1024, "{told}");
        });
    }

    #[test]
    fn answers_that_nobody_reads_are_bounded() {
        let daemon = Daemon::new();
        daemon.run(async {
            let all = daemon.common.unread.hold(MAX_UNREAD_ANSWERS).unwrap();
            // Many answers, of which the socket holds only the first.
            let asked = request(1, "ListDevices").repeat(10_000);
            let mut greedy = daemon.client();
            let _ = greedy.write_all(&asked).await;
            let mut told = Vec::new();
            // Hung up with requests unread, so the end may be a reset.
            let _ = greedy.read_to_end(&mut told).await;
            assert!(!told.is_empty() && told.len() < 2 * 1024 * 1024, "{}", told.len());
            let mut good = daemon.client();
            good.write_all(&request(2, "ListDevices")).await.unwrap();
            assert_eq!(answer(&mut good).await.0, 2);
            drop(all);
            // With room for it, a slow reader gets everything.
            let mut slow = daemon.client();
            let mut writer = Async::new(slow.get_ref().try_clone().unwrap()).unwrap();
            let asking = async { writer.write_all(&asked).await.unwrap() };
            let reading = async {
                for _ in 0..10_000 {
                    assert_eq!(answer(&mut slow).await.0, 1);
                }
            };
            smol::future::zip(asking, reading).await;
        });
    }

    #[test]
    fn records_are_kept_for_everybody() {
        let daemon = Daemon::new();
        daemon.run(async {
            let about = |tag, message: &str, more: &str| {
                plist(
                    tag,
                    &format!(
                        "<key>MessageType</key><string>{message}</string>\
                         <key>PairRecordID</key><string>00008030-001A2B3C4D5E6F70</string>{more}"
                    ),
                )
            };
            // <plist><dict/></plist>
            let data = "<key>PairRecordData</key><data>PHBsaXN0PjxkaWN0Lz48L3BsaXN0Pg==</data>";
            let mut client = daemon.client();
            let mut sent = about(1, "ReadPairRecord", "");
            sent.extend(about(2, "SavePairRecord", data));
            sent.extend(about(3, "ReadPairRecord", ""));
            sent.extend(about(4, "DeletePairRecord", ""));
            sent.extend(about(5, "DeletePairRecord", ""));
            sent.extend(about(6, "SavePairRecord", ""));
            client.write_all(&sent).await.unwrap();
            assert_eq!(result(&mut client).await, (1, 2));
            assert_eq!(result(&mut client).await, (2, 0));
            let (tag, record) = answer(&mut client).await;
            let expected = Value::Data(b"<plist><dict/></plist>".to_vec());
            assert_eq!((tag, record.get("PairRecordData")), (3, Some(&expected)));
            assert_eq!(result(&mut client).await, (4, 0));
            assert_eq!(result(&mut client).await, (5, 2));
            assert_eq!(result(&mut client).await, (6, 22));
        });
    }

    /// A client whose Connect is waiting, and its end of the socket.
    fn connecting(daemon: &Daemon) -> (Server, Async<UnixStream>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut session = Session::new();
        session.begin(&Request::Connect { device_id: 1, port: 7 });
        let server = Server {
            client: ClientStream::unix(ours).unwrap(),
            inbox: Inbox::default(),
            session,
            number: 1,
            common: daemon.common.clone(),
            end_token: None,
        };
        (server, Async::new(theirs).unwrap())
    }

    /// A phone that accepts when it is polled for the `polls`-th time.
    async fn phone_accepts(polls: u32) -> Result<&'static str, ConnectFailure> {
        for _ in 1..polls {
            yield_now().await;
        }
        Ok("connected")
    }

    #[test]
    fn what_follows_a_connect_is_kept_for_the_phone() {
        let daemon = Daemon::new();
        daemon.run(async {
            let (mut server, mut client) = connecting(&daemon);
            client.write_all(b"SSH-2.0-client_1.0\r\n").await.unwrap();
            client.get_ref().shutdown(Shutdown::Write).unwrap();
            let attempt = server.attempt(phone_accepts(5)).await.unwrap();
            assert!(matches!(attempt, Attempt::Ended(Ok("connected"))));
            assert_eq!(server.inbox.into_bytes(), b"SSH-2.0-client_1.0\r\n");
        });
    }

    #[test]
    fn request_behind_a_waiting_connect_is_refused_and_ends_it() {
        let daemon = Daemon::new();
        daemon.run(async {
            let (mut server, mut client) = connecting(&daemon);
            client.write_all(&request(8, "ListDevices")).await.unwrap();
            let forever = smol::future::pending::<Result<(), _>>();
            let Attempt::Interrupted(message) = server.attempt(forever).await.unwrap() else {
                panic!("not interrupted")
            };
            server.out_of_place(&message).await.unwrap();
            drop(server);
            assert_eq!(result(&mut client).await, (8, 1));
            assert_eq!(rest(&mut client).await, []);
        });
    }

    #[test]
    fn client_that_hangs_up_while_connecting_is_noticed() {
        let daemon = Daemon::new();
        daemon.run(async {
            let (mut server, client) = connecting(&daemon);
            drop(client);
            let forever = smol::future::pending::<Result<(), _>>();
            assert!(matches!(server.attempt(forever).await.unwrap(), Attempt::Gone));
        });
    }

    #[test]
    fn client_that_sends_without_waiting_is_read_only_so_far() {
        let daemon = Daemon::new();
        daemon.run(async {
            let (mut server, mut client) = connecting(&daemon);
            let flood = vec![b'x'; 1024 * 1024];
            let mut sending = pin!(async {
                let _ = client.write_all(&flood).await;
                smol::future::pending().await
            });
            // Once more after it was full: then nothing may be read.
            let mut full = false;
            while !full {
                full = server.inbox.is_full();
                let connecting = server.attempt(phone_accepts(100));
                let attempt = smol::future::or(connecting, sending.as_mut()).await;
                assert!(matches!(attempt, Ok(Attempt::Ended(Ok("connected")))));
            }
            let kept = server.inbox.into_bytes().len();
            assert!((1..=65536 + 8192).contains(&kept), "{kept}");
        });
    }

    #[test]
    fn names_are_shortened_and_cleaned() {
        assert_eq!(shortened("a\u{1b}[31mb\n\u{ffff}ü"), "a[31mbü");
        assert_eq!(shortened(&"x".repeat(1000)).len(), 128);
    }
}
