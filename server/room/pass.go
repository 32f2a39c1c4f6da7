package room

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// A page that has a seat gets a file pass, which lets it fetch the model and the data of its room. It is a cookie, as browsers
// send one along with every request for a file, so no address holds a secret. A cookie reaches every port of a machine, so the
// pass is not the token of the seat: it opens files and nothing else.

// passPrefix begins the name of the cookie; the room's id follows. The value is "TAB.PASS".
const passPrefix = "llamatab-files-"

// pass is the file pass of a tab: HMAC-SHA-256 of purpose, room and tab number under the room's secret.
func (h *Host) pass(tab uint32) string {
	mac := hmac.New(sha256.New, h.secret)
	mac.Write(binary.LittleEndian.AppendUint32([]byte("files of "+h.ID), tab))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// givePass adds the file pass of a tab to an answer.
func (h *Host) givePass(w http.ResponseWriter, r *http.Request, tab uint32) {
	http.SetCookie(w, &http.Cookie{Name: passPrefix + h.ID, Value: strconv.FormatUint(uint64(tab), 10) + "." + h.pass(tab), Path: "/api/",
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
}

// passes reports whether a value is the pass of a tab that the room's owner has not removed.
func (h *Host) passes(value string) bool {
	number, pass, _ := strings.Cut(value, ".")
	tab, err := strconv.ParseUint(number, 10, 32)
	if err != nil || tab == 0 || !same(pass, h.pass(uint32(tab))) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.room.removed[uint32(tab)]
}

// JobsOf lists the jobs of the rooms whose file pass a request carries.
func (s *Rooms) JobsOf(r *http.Request) (jobs []json.RawMessage) {
	for _, c := range r.Cookies() {
		id, ours := strings.CutPrefix(c.Name, passPrefix)
		if !ours {
			continue
		}
		if h := s.Find(id); h != nil && h.passes(c.Value) {
			jobs = append(jobs, h.Job())
		}
	}
	return jobs
}
