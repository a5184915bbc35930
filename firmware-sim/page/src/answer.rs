//! Questions and answers: what the page wants to happen, and what it is told.

use crate::row::{self, Row};
use crate::trace;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use usbmux_firmware_sim::lab::{Action, Field, Lab, Setup};
use usbmux_firmware_sim::scenes::{self, Entry, SceneError};

/// Bytes of a full packet in the scenes.
const SCENE_PACKET: usize = 64;
/// Rows that one question may ask for.
const STEPS: u32 = 1000;

/// What the page asks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    /// A scene, by its name.
    Scene(String),
    /// A new lab.
    Lab(LabSetup),
    /// Somebody does something.
    Act(Act),
    /// So many rows more.
    Step(u32),
    /// A trace file, in base64.
    Trace(String),
    /// Actions are about this connection from now on: the host's port and the phone's.
    Choose(u16, u16),
}

/// What a lab is made from, as the page says it.
#[derive(Debug, Deserialize)]
struct LabSetup {
    explicit_zlp: bool,
    window: u32,
    credit: bool,
    max_frame: u16,
    high_speed: bool,
    /// A quirk's name; empty for none.
    quirk: String,
}

/// What somebody does.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Act {
    PlugIn,
    Unplug,
    Open(u16),
    Send(u64),
    Ask(u64),
    Read(bool),
    Close,
    Abort,
    LoseZlp,
    LoseOut,
    LoseIn,
    Flip { from_phone: bool, field: String },
    Overrun(bool),
}

/// What the page is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Scene { rows: Vec<Row> },
    Trace { rows: Vec<Row>, words: Vec<String> },
    Lab { rows: Vec<Row>, state: Box<LabState> },
    Error(String),
}

/// What buttons depend on.
#[derive(Debug, Serialize)]
struct LabState {
    /// Milliseconds since the lab was made.
    at: f64,
    plugged: bool,
    max_packet: usize,
    /// Whether anything will happen by itself.
    busy: bool,
    /// The host's port and the phone's of the connection that actions are about.
    chosen: Option<(u16, u16)>,
    lost_zlp: bool,
    lost_out: bool,
    lost_in: bool,
    flip_out: Option<&'static str>,
    flip_in: Option<&'static str>,
}

/// The place where questions are answered.
#[derive(Default)]
pub struct Desk {
    lab: Option<Lab>,
}

impl Desk {
    /// Answers a question; both are JSON.
    pub fn answer(&mut self, question: &[u8]) -> String {
        let answer = match serde_json::from_slice(question) {
            Ok(question) => self.carry_out(question),
            Err(error) => Answer::Error(format!("the page asks what nobody understands: {error}")),
        };
        serde_json::to_string(&answer).unwrap_or_else(|_| r#"{"error":"no answer"}"#.to_owned())
    }

    fn carry_out(&mut self, question: Question) -> Answer {
        match question {
            Question::Scene(name) => scene(&name),
            Question::Lab(setup) => match setup.quirk() {
                Ok(setup) => {
                    let mut lab = Lab::new(&setup);
                    let answer = tell(&mut lab);
                    self.lab = Some(lab);
                    answer
                }
                Err(error) => Answer::Error(error),
            },
            Question::Trace(file) => {
                let read = STANDARD.decode(file).map_err(|error| error.to_string());
                match read.and_then(|bytes| trace::read(&bytes)) {
                    Ok((rows, words)) => Answer::Trace { rows, words },
                    Err(error) => Answer::Error(error),
                }
            }
            Question::Act(act) => self.with_lab(|lab| {
                lab.act(act.action());
            }),
            Question::Step(count) => self.with_lab(|lab| {
                for _ in 0..count.min(STEPS) {
                    if !lab.step() {
                        break;
                    }
                }
            }),
            Question::Choose(host_port, port) => self.with_lab(|lab| {
                let same = |line: &usbmux_firmware_sim::lab::Line| {
                    (line.host_port, line.port) == (host_port, port)
                };
                if let Some(index) = lab.lines().iter().rposition(same) {
                    lab.choose(index);
                }
            }),
        }
    }

    fn with_lab(&mut self, work: impl FnOnce(&mut Lab)) -> Answer {
        let Some(lab) = &mut self.lab else {
            return Answer::Error("there is no lab yet".to_owned());
        };
        work(lab);
        tell(lab)
    }
}

fn tell(lab: &mut Lab) -> Answer {
    let rows = lab.take_rows().iter().map(row::of_lab).collect();
    let armed = lab.armed();
    let chosen = lab.chosen().and_then(|index| lab.lines().get(index));
    let state = LabState {
        at: lab.now().as_millis_f64(),
        plugged: lab.is_plugged(),
        max_packet: lab.max_packet(),
        busy: lab.is_busy(),
        chosen: chosen.map(|line| (line.host_port, line.port)),
        lost_zlp: armed.lost_zlp,
        lost_out: armed.lost_out,
        lost_in: armed.lost_in,
        flip_out: armed.flip_out.map(Field::name),
        flip_in: armed.flip_in.map(Field::name),
    };
    Answer::Lab { rows, state: Box::new(state) }
}

fn scene(name: &str) -> Answer {
    let entries: Result<Vec<Entry>, SceneError> = match name {
        "cap" => scenes::cap().map(|scene| scene.entries),
        "zlp" => scenes::zlp().map(|scene| scene.entries),
        "window" => scenes::window().map(|scene| scene.entries),
        _ => return Answer::Error(format!("there is no scene {name}")),
    };
    match entries {
        Ok(entries) => Answer::Scene { rows: row::of_entries(&entries, SCENE_PACKET) },
        Err(error) => Answer::Error(error.to_string()),
    }
}

impl LabSetup {
    fn quirk(self) -> Result<Setup, String> {
        let quirk = match self.quirk.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|error| format!("{error}"))?),
        };
        let LabSetup { explicit_zlp, window, credit, max_frame, high_speed, .. } = self;
        Ok(Setup { explicit_zlp, window, credit, max_frame, high_speed, quirk })
    }
}

impl Act {
    fn action(self) -> Action {
        match self {
            Act::PlugIn => Action::PlugIn,
            Act::Unplug => Action::Unplug,
            Act::Open(port) => Action::Open(port),
            Act::Send(bytes) => Action::Send(bytes),
            Act::Ask(bytes) => Action::Ask(bytes),
            Act::Read(reads) => Action::Read(reads),
            Act::Close => Action::Close,
            Act::Abort => Action::Abort,
            Act::LoseZlp => Action::LoseZlp,
            Act::LoseOut => Action::LoseOut,
            Act::LoseIn => Action::LoseIn,
            Act::Overrun(overruns) => Action::Overrun(overruns),
            Act::Flip { from_phone, field } => {
                let field = Field::ALL.into_iter().find(|known| known.name() == field);
                Action::Flip { from_phone, field: field.unwrap_or(Field::Payload) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::{Value, json};

    fn ask(desk: &mut Desk, question: &Value) -> Value {
        serde_json::from_str(&desk.answer(question.to_string().as_bytes())).unwrap()
    }

    #[test]
    fn a_scene_has_a_row_for_each_of_its_entries() {
        let answer = ask(&mut Desk::default(), &json!({"scene": "zlp"}));
        let rows = answer["scene"]["rows"].as_array().unwrap();
        assert_eq!(rows.len(), scenes::zlp().unwrap().entries.len());
        let is_long = |row: &&Value| row["frame"]["length"].as_u64() > Some(65_536);
        let long = rows.iter().find(is_long).unwrap();
        assert!(long["sentence"].as_str().unwrap().contains("drops everything"));
        assert_eq!(long["frame"]["bytes"].as_str().unwrap().len(), 2 * 160);
    }

    #[test]
    fn a_lab_is_lived_by_questions() {
        let mut desk = Desk::default();
        assert!(ask(&mut desk, &json!({"step": 1}))["error"].is_string(), "there is none yet");
        let setup = json!({
            "explicit_zlp": false, "window": 4096, "credit": true, "max_frame": 4096,
            "high_speed": false, "quirk": ""
        });
        ask(&mut desk, &json!({ "lab": setup }));
        ask(&mut desk, &json!({"act": "plug_in"}));
        ask(&mut desk, &json!({"step": 10}));
        ask(&mut desk, &json!({"act": {"send": 5}}));
        let answer = ask(&mut desk, &json!({"step": 100}));
        let rows = answer["lab"]["rows"].as_array().unwrap();
        let last = &rows.last().unwrap()["view"]["connections"][0];
        assert_eq!((&last["host"], &last["phone_port"]), (&json!("Established"), &json!(7)));
        assert_eq!(answer["lab"]["state"]["plugged"], json!(true));
        assert_eq!(answer["lab"]["state"]["chosen"], json!([last["host_port"], 7]));
    }

    #[test]
    fn what_nobody_understands_is_an_error_in_words() {
        let mut desk = Desk::default();
        for question in ["", "{", r#"{"dance": 1}"#, r#"{"scene": "moon"}"#, "\u{0}"] {
            let answer = desk.answer(question.as_bytes());
            assert!(answer.starts_with(r#"{"error":""#), "{answer}");
        }
        let quirk = json!({"lab": {
            "explicit_zlp": false, "window": 1, "credit": true, "max_frame": 1,
            "high_speed": true, "quirk": "moonwalk"
        }});
        assert!(ask(&mut desk, &quirk)["error"].as_str().unwrap().contains("moonwalk"));
    }
}
