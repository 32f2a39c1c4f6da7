// What the attention kernels share. A query row is one position of one query head; the rows of a batch row that read
// the same key/value head are numbered position by position, r = i·(H/Hkv) + g, so that neighbours see nearly the
// same keys. A block of rows (of keys, in the gradient of k and v) stays within one batch row and key/value head.
//
// Two ways to compute the same:
//   plain   a block is one thread with ROWS rows; the other side is read from global memory; no barriers
//   TILED   a block is a workgroup; SPLIT threads share ROWS rows, thread s owning vectors s, s+SPLIT, … of each;
//           the other side passes through workgroup memory, TILE rows at a time
alias V = vec4<f32>;       //@param  the unit of loads: vec2<f32> where 4 does not divide the head dimension
const VECS: u32 = 16u;     //@param  units in a head
const WG: u32 = 64u;       //@param  threads per workgroup
const ROWS: u32 = 1u;      //@param  rows a thread
const SPLIT: u32 = 1u;     //@param  threads that share a row; divides VECS; 1 unless TILED
const TILE: u32 = 1u;      //@param  rows of the other side at a time; 1 unless TILED
const TILED: bool = false; //@param
const WINDOW: bool = false; //@param  a query sees only the last d.W keys, its own among them
const OWN: u32 = VECS / SPLIT;
const BLOCK: u32 = select(ROWS, WG / SPLIT * ROWS, TILED);

struct Dims { B: u32, T: u32, P: u32, W: u32, H: u32, Hkv: u32, D: u32, scale: f32 }

// The first position that query i sees, at row n of positions: where its document or its window starts.
fn start_of(n: u32, i: u32) -> u32 {
    return i - min(u32(clamp(positions[n], 0, i32(i))), d.W - 1u); //@if WINDOW
    return i - u32(clamp(positions[n], 0, i32(i))); //@if !WINDOW
}

// Whether key row key is seen by query i, which sees positions from start on. The first P keys are seen by all, but for
// a window. Written without short cuts, which would be branches in the innermost loop.
fn seen(key: u32, start: u32, i: u32) -> bool {
    return ((key < d.P) & (key + d.W > d.P + i)) | ((key - d.P >= start) & (key - d.P <= i)); //@if WINDOW
    return (key < d.P) | ((key - d.P >= start) & (key - d.P <= i)); //@if !WINDOW
}

// The n-th key to visit when queries see positions from lo on: the prefix comes before.
fn visited(n: u32, lo: u32) -> u32 {
    return select(n + lo, n, n < d.P);
}

// The first vector of query head h at position i, and of a key or value, of batch row b.
fn query_at(b: u32, i: u32, h: u32) -> u32 {
    return ((b * d.T + i) * d.H + h) * VECS;
}

fn key_at(b: u32, key: u32, head: u32) -> u32 {
    return ((b * (d.P + d.T) + key) * d.Hkv + head) * VECS;
}

// The largest x in the workgroup, uniform. Used once in a kernel: it counts on memory that starts at zero.
var<workgroup> largest_of_lanes: atomic<u32>;
var<workgroup> largest: u32;

fn workgroup_largest(x: u32, lane: u32) -> u32 {
    atomicMax(&largest_of_lanes, x);
    workgroupBarrier();
    if (lane == 0u) { largest = atomicLoad(&largest_of_lanes); }
    return workgroupUniformLoad(&largest);
}
