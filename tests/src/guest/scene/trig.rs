//! Sine and cosine from additions and multiplications alone.
//!
//! The C library picks its variant by the CPU it runs on, and a guest's CPU differs from its
//! host's: with `f32::sin` the same frame could differ in the last bit.

/// Sine and cosine of an angle in turns.
#[must_use]
pub fn sin_cos(turns: f32) -> (f32, f32) {
    let turns = f64::from(turns);
    let turns = turns - turns.floor();
    // The nearest quarter, and at most an eighth of a turn from there.
    let quarter = (turns * 4.0 + 0.5).floor();
    let rest = (turns - quarter * 0.25) * std::f64::consts::TAU;
    let (sin, cos) = (sin_near_zero(rest), cos_near_zero(rest));
    if quarter == 1.0 {
        (narrow(cos), narrow(-sin))
    } else if quarter == 2.0 {
        (narrow(-sin), narrow(-cos))
    } else if quarter == 3.0 {
        (narrow(-cos), narrow(sin))
    } else {
        (narrow(sin), narrow(cos))
    }
}

/// Taylor's series, exact to `f32` for |x| ≤ π/4.
fn sin_near_zero(x: f64) -> f64 {
    let x2 = x * x;
    x * (1.0 - x2 / 6.0 * (1.0 - x2 / 20.0 * (1.0 - x2 / 42.0 * (1.0 - x2 / 72.0))))
}

/// Taylor's series, exact to `f32` for |x| ≤ π/4.
fn cos_near_zero(x: f64) -> f64 {
    let x2 = x * x;
    1.0 - x2 / 2.0 * (1.0 - x2 / 12.0 * (1.0 - x2 / 30.0 * (1.0 - x2 / 56.0 * (1.0 - x2 / 90.0))))
}

#[expect(clippy::cast_possible_truncation, reason = "values are in -1..=1")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::sin_cos;

    #[test]
    fn sin_cos_agrees_with_the_c_library() {
        for step in -4000i16..4000 {
            let turns = f32::from(step) / 1000.0;
            let (sin, cos) = sin_cos(turns);
            let (s, c) = (f64::from(turns) * std::f64::consts::TAU).sin_cos();
            assert!((f64::from(sin) - s).abs() < 1e-7, "sine of {turns} turns");
            assert!((f64::from(cos) - c).abs() < 1e-7, "cosine of {turns} turns");
        }
    }

    #[test]
    fn sin_cos_of_quarter_turns_is_exact() {
        assert_eq!(sin_cos(0.0), (0.0, 1.0));
        assert_eq!(sin_cos(0.25), (1.0, 0.0));
        assert_eq!(sin_cos(0.5), (0.0, -1.0));
        assert_eq!(sin_cos(-0.25), (-1.0, 0.0));
    }
}
