// Embedding.   ids (N)  table (V,C)  y (N,C):   y[n] = table[ids[n]]
//@import grid
//@import narrow
//@import quantized
const WG: u32 = 64u;              //@param  threads per workgroup
const TABLE_PACKED: bool = false; //@param  the table holds bfloat16, two in a word
const TABLE_F16: bool = false;    //@param  or binary16
const TABLE_QUANTIZED: bool = false; //@param  or it is quantised, in the
const TABLE_FORMAT: u32 = 1u; //@param  format of this number
const FORMAT = TABLE_FORMAT;

struct Dims { N: u32, V: u32, C: u32 }

@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> table: array<u32>; // f32 bits, or pairs
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> d: Dims;

fn word(i: u32) -> u32 {
    return table[i];
}

// One thread per element.
@compute @workgroup_size(WG)
fn forward(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(wid, groups) * WG + lane;
    if (i >= d.N * d.C) { return; }
    let at = min(ids[i / d.C], d.V - 1u) * d.C + i % d.C;
    if (TABLE_QUANTIZED) {
        y[i] = value_at(at, d.V * d.C, d.C);
    } else if (TABLE_F16) {
        y[i] = f16_of(table[at / 2u], at);
    } else if (TABLE_PACKED) {
        y[i] = bf16_of(table[at / 2u], at);
    } else {
        y[i] = bitcast<f32>(table[at]);
    }
}
