package hub

import (
	"net"
	"regexp"
	"strings"
)

// hostName is a host as a content security policy may name it.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)

// Origins lists the origins to which a browser connects that fetches models from the hub by itself, as a content security policy
// names them: the hub, its subdomains and, of the standard hub, the domain of the hosts to which it redirects requests for large
// files. There are none for a host that no policy can name.
func (c *Client) Origins() []string {
	u := c.endpoint
	if !hostName.MatchString(u.Hostname()) {
		return nil
	}
	origins := []string{u.Scheme + "://" + u.Host}
	if net.ParseIP(u.Hostname()) == nil {
		origins = append(origins, u.Scheme+"://*."+u.Host)
	}
	if strings.EqualFold(origins[0], DefaultEndpoint) {
		origins = append(origins, "https://*.hf.co")
	}
	return origins
}
