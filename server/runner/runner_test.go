package runner

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"llamatab/engine/message"
	"llamatab/server/exit"
	"llamatab/server/inputs"
	"llamatab/server/servertest"
	"llamatab/server/web"
)

func TestMain(m *testing.M) {
	code := m.Run()
	servertest.RemoveStandIn()
	os.Exit(code)
}

// A silent engine ends the run, whether or not its tab answers.
func TestHung(t *testing.T) {
	dir := servertest.StandIn(t)
	defer func(files fs.FS, quiet, alive, silent time.Duration) {
		web.Packed, QuietLimit, aliveLimit, silentLimit = files, quiet, alive, silent
	}(web.Packed, QuietLimit, aliveLimit, silentLimit)
	web.Packed, QuietLimit, aliveLimit, silentLimit = os.DirFS(dir), time.Second, time.Second, 3*time.Second
	j := inputs.New("", nil).Into(message.Job{Command: message.Generate, Generate: &message.GenerateJob{Prompt: "spin"}})
	err := Start(t.Context(), Run{Job: j, Browser: Browser{Backend: "swiftshader"}})
	if err == nil || !strings.Contains(err.Error(), "tab_hung") || exit.Code(err) != exit.Failed {
		t.Errorf("got %v", err)
	}
}
