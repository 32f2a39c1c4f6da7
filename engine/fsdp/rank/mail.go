package rank

import "context"

// mail is all that passes between the two goroutines of a rank.
type mail struct {
	tasks   chan task  // of the communicator for the computer, which does them in order
	replies chan reply // of the computer for the communicator, which calls them while it has a connection
	failed  chan error // of the computer: the error that ended it
}

func newMail() mail {
	return mail{tasks: make(chan task, 1<<14), replies: make(chan reply), failed: make(chan error, 1)}
}

// task is work on the device. A reply that is not nil is called afterwards. An error ends the run in this tab.
type task func(d *computer) (reply, error)

// reply tells the communicator what a task has done.
type reply func(c *communicator)

// post passes a reply to the communicator. It returns ctx's error if ctx ends first.
func (m mail) post(ctx context.Context, r reply) error {
	select {
	case m.replies <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
