// 1/(1+e⁻ˣ). Below −80, where e⁻ˣ would near the end of f32, it stays at e⁻⁸⁰ ≈ 2e-35.
fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(-max(x, -80.0)));
}
