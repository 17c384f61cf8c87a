//! The loader of saved devices: streams of any bytes, sections of any bytes whose checksums are
//! right, and a good state that is changed.
//!
//! A state that is refused leaves nothing behind; one that is loaded can run, be saved and be
//! loaded again. After each the device takes the good state.

mod sample;
mod subject;

use arbitrary::{Result, Unstructured};
use coherd::snapshot::Writer;
use coherd_protocol::state::{Kind, MAX_SECTION};

use self::subject::Subject;

/// Sections that are drawn.
const SECTIONS: usize = 64;

/// See the module's description.
pub fn run(input: &[u8]) {
    let mut subject = Subject::new();
    let mut u = Unstructured::new(input);
    let stream = match u.int_in_range(0..=2u8) {
        Ok(0) => u.take_rest().to_vec(),
        Ok(1) => sections(&mut u).unwrap_or_default(),
        _ => changed(&mut u),
    };
    subject.check(&stream);
    assert!(
        subject.load(&sample::stream()).is_ok(),
        "a good state is refused"
    );
    subject.reset();
}

/// Sections of any kind and bytes, with right checksums.
fn sections(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new()).expect("memory takes bytes");
    for _ in 0..SECTIONS {
        if u.is_empty() {
            break;
        }
        let kind = *u.choose(&Kind::ALL)?;
        let len = u.int_in_range(0..=512usize)?.min(u.len()).min(MAX_SECTION);
        let payload = u.bytes(len)?;
        writer
            .section(kind, &[payload])
            .expect("memory takes bytes");
    }
    Ok(writer.finish().expect("memory takes bytes"))
}

/// The good state, with bytes of its sections replaced, and sections left out or repeated.
fn changed(u: &mut Unstructured<'_>) -> Vec<u8> {
    let mut all = sample::sections();
    // Where there is nothing left, zeros are drawn, without end.
    while !u.is_empty()
        && let Ok([what, section, place, value]) = u.arbitrary::<[u8; 4]>()
    {
        let at = usize::from(section) % all.len().max(1);
        match what % 8 {
            0 if all.len() > 1 => {
                all.remove(at);
            }
            1 if all.len() < SECTIONS => {
                let again = all[at].clone();
                all.insert(at, again);
            }
            2 => {
                let other = usize::from(place) % all.len().max(1);
                all.swap(at, other);
            }
            _ => {
                let bytes = &mut all[at].1;
                if !bytes.is_empty() {
                    let place = usize::from(place) % bytes.len();
                    bytes[place] = value;
                }
            }
        }
    }
    sample::written(&all)
}
