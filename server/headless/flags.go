package headless

import (
	"fmt"
	"os"
	"strings"

	"github.com/chromedp/chromedp"
)

// NeedsNoSandbox reports whether Chromium's sandbox must be switched off, because Chromium refuses to run as root
// with it.
func NeedsNoSandbox() bool { return os.Geteuid() == 0 }

// flags are Chromium's switches: no window, no first-run pages, no traffic of its own, no throttling of tabs that it takes
// for background tabs, and WebGPU on. The variable CHROME_FLAGS adds switches, or gives one of these another value.
func flags(o Options) ([]chromedp.ExecAllocatorOption, error) {
	on := []string{"headless", "no-first-run", "no-default-browser-check", "hide-scrollbars", "mute-audio",
		"disable-background-networking", "disable-component-update", "disable-domain-reliability", "disable-sync",
		"disable-default-apps", "disable-extensions", "disable-client-side-phishing-detection", "disable-breakpad",
		"disable-crash-reporter", "no-pings", "metrics-recording-only", "disable-hang-monitor", "disable-popup-blocking",
		"disable-prompt-on-repost", "disable-background-timer-throttling", "disable-backgrounding-occluded-windows",
		"disable-renderer-backgrounding", "disable-ipc-flooding-protection", "use-mock-keychain",
		"disable-dev-shm-usage", // containers often have a /dev/shm of 64 MiB
		"enable-unsafe-webgpu"}
	options := []chromedp.ExecAllocatorOption{
		chromedp.Flag("password-store", "basic"),
		chromedp.Flag("disable-features", "Translate,MediaRouter,OptimizationHints,PreloadTopChromeWebUI"),
	}
	if o.SwiftShader {
		options = append(options, chromedp.Flag("use-webgpu-adapter", "swiftshader"))
	} else {
		on = append(on, "ignore-gpu-blocklist", "disable-vulkan-surface")
		options = append(options, chromedp.Flag("enable-features", "Vulkan"))
	}
	if NeedsNoSandbox() {
		on = append(on, "no-sandbox")
	}
	for _, name := range on {
		options = append(options, chromedp.Flag(name, true))
	}
	for _, flag := range strings.Fields(os.Getenv("CHROME_FLAGS")) {
		name, ok := strings.CutPrefix(flag, "--")
		name, value, valued := strings.Cut(name, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("headless: CHROME_FLAGS: %q is no switch of Chromium; one reads --name or --name=value", flag)
		}
		if valued {
			options = append(options, chromedp.Flag(name, value))
		} else {
			options = append(options, chromedp.Flag(name, true))
		}
	}
	return options, nil
}
