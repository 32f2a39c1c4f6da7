package servertest

import "time"

// Patience is how long a test waits for one condition in a browser. A busy machine is slow, and a test that waits in vain
// still fails before the limit of its package.
const Patience = 5 * time.Minute
