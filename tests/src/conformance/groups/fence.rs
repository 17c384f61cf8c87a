//! Fences: what of a request's header comes back, and in which order.

use coherd_protocol::gpu::Features;
use coherd_protocol::gpu::header::{Fence, HeaderFlags};

use crate::conformance::bench::Bench;
use crate::conformance::case::{Group, Need, Outcome};
use crate::conformance::codes;
use crate::conformance::failure::{Failure, ensure};
use crate::conformance::picture::Picture;
use crate::driver::{Answer, Request, Token};

/// Fences in flight at a time.
const MANY: u32 = 100;

pub(super) fn group() -> Group {
    Group::new("fence", "5.7.6.7")
        .case("comes-back-on-success", |bench| {
            let fence = bench.global_fence();
            succeeds(bench, &Request::create_2d(1, 1, 16, 16), fence)
        })
        .case("comes-back-with-data", |bench| {
            let fence = bench.global_fence();
            let answer = bench.call(&Request::display_info().fence(fence), 384)?;
            expect_code(&answer, codes::OK_DISPLAY_INFO)?;
            expect_fence(&answer, fence)
        })
        .case("is-not-made-up", |bench| {
            let answer = bench.call(&Request::create_2d(1, 1, 16, 16), 0)?;
            expect_code(&answer, codes::OK_NODATA)?;
            let flags = answer.header().map(|header| header.flags());
            ensure(flags == Some(HeaderFlags::empty()), || {
                format!("flags {flags:?} without a fence")
            })
        })
        .case("id-has-64-bits", |bench| {
            let picture = Picture::new(bench, 1, 16, 16)?;
            for id in [0, 1 << 32, u64::MAX] {
                let fence = Fence {
                    id,
                    ..bench.global_fence()
                };
                succeeds(bench, &Request::flush(1, picture.whole()), fence)?;
            }
            Ok(())
        })
        .section("linux uapi")
        .case("comes-back-on-errors", |bench| {
            let fence = bench.global_fence();
            let answer = fenced(bench, &Request::unref(9), fence)?;
            bench.expect_error(&answer)
        })
        .case("comes-back-on-unknown-commands", |bench| {
            let fence = bench.global_fence();
            let answer = fenced(bench, &Request::new(0x01ff), fence)?;
            bench.expect_error(&answer)
        })
        .case("answers-come-in-order", global_order)
        .section("5.7.6.5")
        .case("pixels-are-there-when-it-is", after_transfer)
        .section("5.7.6.7")
        .needs(&[
            Need::Device(Features::VIRGL),
            Need::Device(Features::CONTEXT_INIT),
            Need::Capset,
        ])
        .case("of-an-empty-submit", |bench| {
            bench.context(1)?;
            let fence = bench.global_fence();
            succeeds(bench, &Request::submit_3d(1, &[]), fence)
        })
        .case("of-a-ring-comes-back-with-it", |bench| {
            bench.context(1)?;
            let fence = bench.ring_fence(1, 0);
            succeeds(bench, &Request::submit_3d(1, &[]), fence)
        })
        .case("of-a-ring-on-another-command", |bench| {
            bench.context(1)?;
            let fence = bench.ring_fence(1, 0);
            succeeds(bench, &Request::create_2d(1, 1, 16, 16), fence)
        })
        .case("answers-of-a-ring-come-in-order", |bench| {
            bench.context(1)?;
            let sent = submit_many(bench, &[0])?;
            all_succeed(&in_order(bench, sent)?)
        })
        .case("every-ring-of-two-comes-back", |bench| {
            bench.context(1)?;
            bench.context(2)?;
            for ctx_id in [1, 2] {
                let fence = bench.ring_fence(ctx_id, 0);
                let request = Request::submit_3d(ctx_id, &[]).fence(fence);
                let token = bench.send(&request, 0)?;
                let answer = bench.wait(token, "SUBMIT_3D")?;
                expect_code(&answer, codes::OK_NODATA)?;
                expect_fence(&answer, fence)?;
            }
            Ok(())
        })
        .case("ring-64", |bench| {
            bench.context(1)?;
            for ring in [64, 255] {
                let fence = bench.ring_fence(1, ring);
                let answer = fenced(bench, &Request::submit_3d(1, &[]), fence)?;
                bench.expect_error(&answer)?;
            }
            Ok(())
        })
        .case("ring-of-an-unknown-context", |bench| {
            let fence = bench.ring_fence(7, 0);
            let answer = fenced(bench, &Request::submit_3d(7, &[]), fence)?;
            bench.expect_error(&answer)
        })
        .case("errors-keep-the-order-of-their-ring", ring_errors)
        .case("all-come-back-when-the-context-goes", destroyed)
}

fn expect_fence(answer: &Answer, fence: Fence) -> Outcome {
    ensure(answer.fence() == Some(fence), || {
        format!("{:?} instead of {fence:?}", answer.fence())
    })
}

fn expect_code(answer: &Answer, code: u32) -> Outcome {
    ensure(answer.code() == code, || {
        let (got, wanted) = (codes::response(answer.code()), codes::response(code));
        format!(
            "{}: {got} instead of {wanted}",
            codes::command(answer.command)
        )
    })
}

/// Sends a command with a fence, which must come back whatever the answer is.
fn fenced(bench: &mut Bench<'_>, request: &Request, fence: Fence) -> Result<Answer, Failure> {
    let answer = bench.call(&request.clone().fence(fence), 0)?;
    expect_fence(&answer, fence)?;
    Ok(answer)
}

/// Sends a command with a fence, which must come back with success.
fn succeeds(bench: &mut Bench<'_>, request: &Request, fence: Fence) -> Outcome {
    expect_code(&fenced(bench, request, fence)?, codes::OK_NODATA)
}

fn all_succeed(answers: &[Answer]) -> Outcome {
    let mut answers = answers.iter();
    answers.try_for_each(|answer| expect_code(answer, codes::OK_NODATA))
}

/// Every `step`th of the answers from the `first` on is an error, and the others are not.
fn errors_among(bench: &mut Bench<'_>, answers: &[Answer], step: usize, first: usize) -> Outcome {
    for (number, answer) in answers.iter().enumerate() {
        if number % step == first {
            bench.expect_error(answer)?;
        } else {
            expect_code(answer, codes::OK_NODATA)?;
        }
    }
    Ok(())
}

/// Waits for all; the answers must have come in the order of the requests.
fn in_order(bench: &mut Bench<'_>, sent: Vec<(Token, Fence)>) -> Result<Vec<Answer>, Failure> {
    let mut answers: Vec<Answer> = Vec::new();
    for (token, fence) in sent {
        let answer = bench.wait(token, "a command with a fence")?;
        expect_fence(&answer, fence)?;
        let before = answers.last().map(|answer| answer.position);
        ensure(before.is_none_or(|before| before < answer.position), || {
            format!("fence {} overtook an older one", fence.id)
        })?;
        answers.push(answer);
    }
    Ok(answers)
}

fn global_order(bench: &mut Bench<'_>) -> Outcome {
    let picture = Picture::new(bench, 1, 64, 64)?;
    let mut sent = Vec::new();
    for number in 0..MANY {
        let fence = bench.global_fence();
        let request = match number % 3 {
            0 => Request::transfer_to_host_2d(1, picture.whole(), 0),
            1 => Request::unref(9),
            _ => Request::flush(1, picture.whole()),
        };
        sent.push((bench.send(&request.fence(fence), 0)?, fence));
    }
    let answers = in_order(bench, sent)?;
    errors_among(bench, &answers, 3, 1)
}

fn after_transfer(bench: &mut Bench<'_>) -> Outcome {
    let picture = Picture::new(bench, 1, 64, 64)?;
    let pixels = crate::conformance::picture::pattern(2, picture.len());
    picture.fill(bench, &pixels)?;
    let fence = bench.global_fence();
    let transfer = Request::transfer_to_host_2d(1, picture.whole(), 0);
    succeeds(bench, &transfer, fence)?;
    picture.expect(bench, &pixels)
}

/// Empty submits to context 1, on these rings in turn.
fn submit_many(bench: &mut Bench<'_>, rings: &[u8]) -> Result<Vec<(Token, Fence)>, Failure> {
    let mut sent = Vec::new();
    for ring in rings.iter().cycle().take(MANY as usize) {
        let fence = bench.ring_fence(1, *ring);
        let request = Request::submit_3d(1, &[]).fence(fence);
        sent.push((bench.send(&request, 0)?, fence));
    }
    Ok(sent)
}

fn ring_errors(bench: &mut Bench<'_>) -> Outcome {
    bench.context(1)?;
    let mut sent = Vec::new();
    for number in 0..MANY {
        let fence = bench.ring_fence(1, 0);
        let request = if number % 2 == 0 {
            Request::submit_3d(1, &[])
        } else {
            Request::ctx_attach(1, 9)
        };
        sent.push((bench.send(&request.fence(fence), 0)?, fence));
    }
    let answers = in_order(bench, sent)?;
    errors_among(bench, &answers, 2, 1)
}

fn destroyed(bench: &mut Bench<'_>) -> Outcome {
    bench.context(1)?;
    let sent = submit_many(bench, &[0])?;
    let destroy = bench.send(&Request::ctx_destroy(1), 0)?;
    all_succeed(&in_order(bench, sent)?)?;
    let answer = bench.wait(destroy, "CTX_DESTROY")?;
    expect_code(&answer, codes::OK_NODATA)
}
