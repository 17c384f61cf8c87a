//! Violent ends: of a program in the guest, of a worker, of the render server.

use std::thread;
use std::time::{Duration, Instant};

use super::app::App;
use super::ctl;
use super::failure::{Failure, expect};
use super::process;
use super::report::Verdict;
use super::rig::Rig;
use super::scene::{DRAWING, ENDLESS, Scene};
use super::sharing::vkmark;
use super::wait::until;

const HOLD: &str = "hold --seconds 100000 --live 50";
const HELD: u64 = 50;
/// Frames that take longer than a process takes to die.
const LONG: usize = 60;

/// A program that can hang.
const HANGS: &str = "vk-sync";

const DEATH: Duration = Duration::from_secs(30);

/// The time in which a lost context is watched, and the work it may cost.
const WINDOW: Duration = Duration::from_secs(2);
const NEXT_TO_NOTHING: Duration = Duration::from_millis(50);

/// A program that is killed while it holds maps, or amid a frame, leaves nothing behind.
pub fn killed_app(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let holder = App::venus(&rig.vm, "vk-memory", HOLD)?;
    holder.prints("holding")?;
    let maps = rig.coherd.holdings()?.mappings;
    expect(maps >= HELD, || {
        format!("a program that holds {HELD} maps has {maps}")
    })?;
    holder.kill()?;
    let held = rig.lets_go()?;
    let scene = Scene::start(&rig.vm, "killed", ENDLESS)?;
    scene.app().prints(DRAWING)?;
    scene.app().kill()?;
    let drawn = rig.lets_go()?;
    Ok(Verdict::Passed(format!(
        "{maps} maps gone after {:.1} s, a scene after {:.1} s",
        held.as_secs_f32(),
        drawn.as_secs_f32()
    )))
}

/// The death of one program's worker is that program's own.
pub fn worker_death(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let victim = App::start(&rig.vm, vkmark(100_000))?;
    let worker = rig.new_worker(&[])?;
    let other = Scene::start(&rig.vm, "other", LONG)?;
    let second = rig.new_worker(&[worker])?;
    victim.prints("[vertex]")?;
    expect(other.app().is_running()?, || {
        "the other scene was too short to outlive a worker".to_owned()
    })?;
    process::kill(worker)?;
    let began = Instant::now();
    let end = victim.fails()?;
    let noticed = began.elapsed();
    other.is_right(rig.lab)?;
    rig.works()?;
    expect(!process::is_running(second), || {
        "a worker outlives its program".to_owned()
    })?;
    rig.lets_go()?;
    Ok(Verdict::Passed(format!(
        "its program ended with status {} after {:.1} s, the other drew {LONG} frames",
        end.status,
        noticed.as_secs_f32()
    )))
}

/// A program that does nothing does not learn that its worker died, and may stay as long as it likes: it costs the
/// host nothing.
pub fn lost_context(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let losses = rig.losses();
    let holder = App::venus(&rig.vm, "vk-memory", HOLD)?;
    holder.prints("holding")?;
    process::kill(rig.new_worker(&[])?)?;
    rig.coherd.wait_for_log("is lost", losses + 1, DEATH)?;
    let coherd = rig.coherd.pid();
    let before = process::processor_time(coherd)?;
    thread::sleep(WINDOW);
    let used = process::processor_time(coherd)?.saturating_sub(before);
    expect(used <= NEXT_TO_NOTHING, || {
        format!("coherd worked for {used:?} in {WINDOW:?}, for a program that does nothing")
    })?;
    expect(holder.is_running()?, || {
        "the program did learn that its worker died".to_owned()
    })?;
    holder.kill()?;
    Ok(Verdict::Passed(format!("{used:?} of work in {WINDOW:?}")))
}

/// A shader that never ends costs its program the context, and others nothing; its worker is gone, and metrics tell
/// whose it was. One whose program ends first leaves no worker either.
pub fn hung_shader(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let hung = App::venus(&rig.vm, HANGS, "--hang")?;
    let worker = rig.new_worker(&[])?;
    hung.works_on(0)?;
    let began = Instant::now();
    let other = Scene::start(&rig.vm, "beside", LONG)?;
    rig.coherd.wait_for_log("it hung for", 1, DEATH)?;
    hung.fails()?;
    let noticed = began.elapsed();
    gone(worker)?;
    let metrics = ctl::by_control(rig.lab, &rig.coherd, &["metrics"])?;
    let metrics = String::from_utf8_lossy(&metrics);
    for counted in ["hangs", "lost_contexts"] {
        let line = format!("coherd_{counted}_total{{context=\"{HANGS}\"}} 1");
        expect(metrics.lines().any(|other| other == line), || {
            format!("{line} is not among the metrics:\n{metrics}")
        })?;
    }
    other.is_right(rig.lab)?;
    rig.lets_go()?;

    let quit = App::venus(&rig.vm, HANGS, "--hang")?;
    let worker = rig.new_worker(&[])?;
    quit.works_on(0)?;
    quit.kill()?;
    gone(worker)?;
    rig.works()?;
    rig.lets_go()?;
    Ok(Verdict::Passed(format!(
        "the program failed after {:.1} s, a scene beside it drew {LONG} frames, no worker stayed",
        noticed.as_secs_f32()
    )))
}

fn gone(worker: u32) -> Result<(), Failure> {
    until("the end of a worker", DEATH, || {
        Ok((!process::is_running(worker))
            .then_some(())
            .ok_or_else(|| format!("process {worker} ran")))
    })
    .map(drop)
}

/// coherd outlives its render server and says so. Programs go on, new ones get no Vulkan, and the guest lives.
pub fn server_death(rig: &mut Rig<'_>) -> Result<Verdict, Failure> {
    let scene = Scene::start(&rig.vm, "survivor", LONG)?;
    let worker = rig.new_worker(&[])?;
    process::kill(rig.render_server()?)?;
    rig.coherd
        .wait_for_log("the render server is dead", 1, DEATH)?;
    scene.is_right(rig.lab)?;
    App::venus(&rig.vm, "vk-memory", "churn --iterations 8 --live 2")?.fails()?;
    rig.is_alive()?;
    gone(worker)?;
    until("coherd to let go of the programs", DEATH, || {
        let now = rig.coherd.holdings()?;
        let left = now.contexts > rig.idle.contexts || now.resources > rig.idle.resources;
        Ok(if left {
            Err(format!("{now:?}"))
        } else {
            Ok(())
        })
    })?;
    Ok(Verdict::Passed(
        "coherd, the guest and a running scene lived on".to_owned(),
    ))
}
