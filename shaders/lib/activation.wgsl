// Activations and their slopes, by KIND: 0 SiLU, 1 ReLU, 2 GELU, 3 tanh. The importing file declares KIND.
//@import sigmoid

// The built-in tanh may overflow where |x| is large.
fn tanh_of(x: f32) -> f32 {
    let e = exp(-2.0 * abs(x));
    return sign(x) * (1.0 - e) / (1.0 + e);
}

// (1 + erf(x/√2))/2 within 1e-7: Abramowitz and Stegun 7.1.26, whose polynomial gives the tail directly.
fn normal_cdf(x: f32) -> f32 {
    let z = abs(x) * 0.70710678;
    let t = 1.0 / (1.0 + 0.3275911 * z);
    let tail = 0.5 * exp(-z * z) * t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return select(tail, 1.0 - tail, x > 0.0);
}

fn activate(x: f32) -> f32 {
    if (KIND == 0u) { return x * sigmoid(x); }
    if (KIND == 1u) { return max(x, 0.0); }
    if (KIND == 2u) { return x * normal_cdf(x); }
    return tanh_of(x);
}

fn slope(x: f32) -> f32 {
    if (KIND == 0u) {
        let s = sigmoid(x);
        return s * (1.0 + x * (1.0 - s));
    }
    if (KIND == 1u) { return select(0.0, 1.0, x > 0.0); }
    if (KIND == 2u) { return normal_cdf(x) + x * exp(-0.5 * x * x) * 0.39894228; }
    let y = tanh_of(x);
    return 1.0 - y * y;
}
