// Places in the two buffers of an update; engine/optim/update.go says what is there.
const LR = 0u;
const SCALE = 1u;
const CORRECTIONS = 2u;
const KNOWN_SKIPS = 6u;
const NUMBER = 7u;

const NORM = 0u;
const CLIP = 1u;
const APPLIED = 2u;
const SKIPPED = 3u;
const LOSS = 4u;
const PAIR = 5u;
const FACTOR = 6u;
const OVERFLOW = 7u;
