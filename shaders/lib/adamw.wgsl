// What both forms of AdamW share: all bindings but the weights', and the update of element i.
//   g ← g · factor,   m ← β1·m + (1−β1)·g,   v ← β2·v + (1−β2)·g²
//   p ← p − lr·decay·p − lr·c1·m / (√v·c2 + eps),   g ← what was added to p
//@import grid
//@import update

// rest1 and rest2 are 1−β1 and 1−β2, which f32 could not make from β. first and site say which random numbers are drawn.
struct Dims {
    N: u32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, eps: f32, decay: f32, lr_scale: f32, first: u32, site: u32
}

@group(0) @binding(0) var<storage, read> scalars: array<f32>;
@group(0) @binding(1) var<storage, read> state: array<f32>;
@group(0) @binding(2) var<storage, read_write> g: array<f32>;
@group(0) @binding(4) var<storage, read_write> m: array<f32>;
@group(0) @binding(5) var<storage, read_write> v: array<f32>;
@group(0) @binding(6) var<uniform> d: Dims;

// Updates the moments and returns what p loses.
fn change(i: u32, p: f32) -> f32 {
    let pair = CORRECTIONS + 2u * u32(state[PAIR]);
    let lr = scalars[LR] * d.lr_scale;
    let dp = g[i] * state[FACTOR];
    let m1 = d.beta1 * m[i] + d.rest1 * dp;
    let v1 = d.beta2 * v[i] + d.rest2 * dp * dp;
    m[i] = m1;
    v[i] = v1;
    return lr * (d.decay * p + scalars[pair] * m1 / (sqrt(v1) * scalars[pair + 1u] + d.eps));
}
