//go:build browser

package browsertest

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"slices"
)

// mostColors of a palette: a byte a pixel.
const mostColors = 256

// Smaller is the picture with the 256 colours that it has most of, and the
// others as the nearest of those. Screens have few colours, so it looks the
// same, at less than half the size.
func Smaller(picture []byte) ([]byte, error) {
	src, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, fmt.Errorf("browsertest: %w", err)
	}
	r := src.Bounds()
	count := map[color.RGBA]int{}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			count[at(src, x, y)]++
		}
	}
	seen := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, c := range seen[:min(len(seen), mostColors)] {
		palette = append(palette, c)
	}
	place := map[color.RGBA]uint8{}
	for _, c := range seen {
		place[c] = uint8(palette.Index(c)) //nolint:gosec // there are 256
	}
	dst := image.NewPaletted(r, palette)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			dst.SetColorIndex(x, y, place[at(src, x, y)])
		}
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, dst); err != nil {
		return nil, fmt.Errorf("browsertest: %w", err)
	}
	return out.Bytes(), nil
}

func at(m image.Image, x, y int) color.RGBA {
	return color.RGBAModel.Convert(m.At(x, y)).(color.RGBA)
}
