package e2e

import (
	"bytes"
	"cmp"
	"flag"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"llamatab/server/servertest"
)

var picture = flag.String("picture", "", "PNG file for a picture of the page training: `make pictures`")

// TestPicture takes the README's picture: the page with the ready run "pirate" in the middle of its training.
func TestPicture(t *testing.T) {
	if *picture == "" {
		t.Skip("the picture is taken where -picture names a file")
	}
	v := visit(t, 10*time.Minute)
	if err := v.browser.Resize(v.ctx, 1280, 800); err != nil {
		t.Fatal(err)
	}
	v.open(serving(t) + "/?lang=en")
	if v.ask(`return `+servertest.HasChineseFont) != "true" {
		t.Fatal(servertest.NoChineseFont)
	}
	v.ask(`document.documentElement.dataset.theme = "light"`)
	v.press("ready-pirate")
	v.until("the middle of the run", `parseInt(document.getElementById("step")?.textContent) >= 40`)
	v.ask(`scrollTo(0, 0); document.activeElement?.blur()`)
	shot, err := v.browser.Screenshot(v.ctx)
	if err != nil {
		t.Fatal(err)
	}
	full, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&b, paletted(full)); err != nil {
		t.Fatal(err)
	}
	const most = 200_000
	if b.Len() > most {
		t.Errorf("the picture has %d bytes, more than %d", b.Len(), most)
	}
	if err := os.MkdirAll(filepath.Dir(*picture), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*picture, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
}

// paletted reduces a picture to its 256 most frequent colours, which makes its file small. Other colours become the nearest
// of them.
func paletted(full image.Image) *image.Paletted {
	count := map[color.RGBA]int{}
	bounds := full.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B))
	})
	var palette color.Palette
	for _, c := range colours[:min(len(colours), 256)] {
		palette = append(palette, c)
	}
	index := map[color.RGBA]uint8{}
	for _, c := range colours {
		index[c] = uint8(palette.Index(c))
	}
	small := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			small.SetColorIndex(x, y, index[color.RGBAModel.Convert(full.At(x, y)).(color.RGBA)])
		}
	}
	return small
}
