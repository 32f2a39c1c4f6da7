// A hash of four words to one, with no state: equal words give equal bits on every device. It has the form of
// pcg4d of Jarzynski & Olano 2020, "Hash Functions for GPU Rendering": a linear congruential step in each word, then
// two rounds in which every word takes in a product of two others.
fn random(words: vec4<u32>) -> u32 {
    var v = mix_words(words * 1664525u + 1013904223u);
    v = mix_words(v ^ (v >> vec4<u32>(16u)));
    return v.w;
}

fn mix_words(words: vec4<u32>) -> vec4<u32> {
    var v = words;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    return v;
}
