//go:build browser

package browsertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Limits of a step of Hands.
const (
	// stepLife bounds one step with what it waits for.
	stepLife = 20 * time.Second
	// mostStops is how often Tab is pressed to reach something. The longest page
	// of the console has fewer stops.
	mostStops = 250
	// mostChoices is how often an arrow is pressed in a group of radio buttons.
	mostChoices = 10
	// between is the time between two looks at a page.
	between = 25 * time.Millisecond
)

// Hands use a page: by the keyboard alone, or by the mouse, with the keyboard
// for text and for the lists of select elements, which a headless browser does
// not open. Every step fails the test when it cannot be done.
type Hands struct {
	tab      *Tab
	tb       testing.TB
	keyboard bool
}

// ByMouse uses the pages of the tab with a mouse.
func (t *Tab) ByMouse(tb testing.TB) *Hands {
	tb.Helper()
	return &Hands{tab: t, tb: tb}
}

// ByKeyboard uses the pages of the tab without a mouse.
func (t *Tab) ByKeyboard(tb testing.TB) *Hands {
	tb.Helper()
	return &Hands{tab: t, tb: tb, keyboard: true}
}

// Go opens an address, as typed into the address bar.
func (h *Hands) Go(url string) {
	h.tb.Helper()
	h.do(chromedp.Navigate(url), "open "+url)
}

// Press uses a link, a button or the summary of details.
func (h *Hands) Press(selector string) {
	h.tb.Helper()
	if h.keyboard {
		h.reach(selector)
		h.keys("\r")
		return
	}
	h.do(chromedp.Click(selector), "click "+selector)
}

// Tick uses a checkbox, or chooses a radio button.
func (h *Hands) Tick(selector string) {
	h.tb.Helper()
	if !h.keyboard {
		h.do(chromedp.Click(selector), "click "+selector)
		return
	}
	h.await(fmt.Sprintf(`!!document.querySelector(%q)`, selector), selector)
	group := ask[string](h, fmt.Sprintf(`(e => e.type === "radio" ? 'input[name="' + e.name + '"]' : "")(document.querySelector(%q))`, selector))
	if group == "" {
		h.reach(selector)
		h.keys(" ")
		return
	}
	h.reach(group)
	for range mostChoices {
		if ask[bool](h, fmt.Sprintf(`document.querySelector(%q).checked`, selector)) {
			return
		}
		h.keys(kb.ArrowDown)
	}
	h.tb.Fatalf("the arrows do not choose %s", selector)
}

// Fill replaces the text of a field.
func (h *Hands) Fill(selector, text string) {
	h.tb.Helper()
	if h.keyboard {
		h.reach(selector)
	} else {
		h.do(chromedp.Click(selector), "click "+selector)
	}
	h.do(chromedp.KeyEvent("a", chromedp.KeyModifiers(2)), "select all of "+selector) // Ctrl
	h.keys(kb.Delete + text)
}

// Choose takes the option of a select whose text begins with text.
func (h *Hands) Choose(selector, text string) {
	h.tb.Helper()
	if h.keyboard {
		h.reach(selector)
	} else {
		h.do(chromedp.Focus(selector), "focus "+selector)
	}
	h.keys(text)
}

// Type types into what has the focus.
func (h *Hands) Type(text string) {
	h.tb.Helper()
	h.keys(text)
}

// See waits until the page shows a text.
func (h *Hands) See(text string) {
	h.tb.Helper()
	h.await(fmt.Sprintf(`document.readyState === "complete" && document.body.innerText.includes(%q)`, text), "the text "+text)
}

// Until waits until a condition of the page's, in JavaScript, is true.
func (h *Hands) Until(js string) {
	h.tb.Helper()
	h.await(js, js)
}

// Text is the text of an element, as shown.
func (h *Hands) Text(selector string) string {
	h.tb.Helper()
	h.await(fmt.Sprintf(`!!document.querySelector(%q)`, selector), selector)
	return ask[string](h, fmt.Sprintf(`document.querySelector(%q).innerText`, selector))
}

// Path is the path of the address of the page.
func (h *Hands) Path() string {
	h.tb.Helper()
	return ask[string](h, `location.pathname`)
}

// reach presses Tab until an element that fits has the focus.
func (h *Hands) reach(selector string) {
	h.tb.Helper()
	h.await(fmt.Sprintf(`document.readyState === "complete" && !!document.querySelector(%q)`, selector), selector)
	for range mostStops {
		if ask[bool](h, fmt.Sprintf(`!!document.activeElement?.matches(%q)`, selector)) {
			if !ask[bool](h, `document.activeElement.matches(":focus-visible")`) {
				h.tb.Fatalf("%s has the focus, and nothing shows it", selector)
			}
			return
		}
		h.keys("\t")
	}
	h.tb.Fatalf("the keyboard does not reach %s\n%s", selector, h.shown())
}

func (h *Hands) keys(keys string) {
	h.tb.Helper()
	h.do(chromedp.KeyEvent(keys), "press keys")
}

func (h *Hands) do(a chromedp.Action[chromedp.Void], what string) {
	h.tb.Helper()
	ctx, cancel := context.WithTimeout(h.tab.Ctx, stepLife)
	defer cancel()
	if err := chromedp.Do(ctx, a); err != nil {
		h.tb.Fatalf("%s: %v\n%s", what, err, h.shown())
	}
}

// await looks at the page until a condition is true. A page that is just left
// has no answer: it is asked again.
func (h *Hands) await(js, what string) {
	h.tb.Helper()
	ctx, cancel := context.WithTimeout(h.tab.Ctx, stepLife)
	defer cancel()
	tick := time.NewTicker(between)
	defer tick.Stop()
	for {
		if ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](js)); err == nil && ok {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			h.tb.Fatalf("not in %s: %s\n%s", stepLife, what, h.shown())
		}
	}
}

// shown is what a failed test tells about the page.
func (h *Hands) shown() string {
	ctx, cancel := context.WithTimeout(h.tab.Ctx, stepLife)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + (document.querySelector("dialog[open]") || document.querySelector("main") || document.body).innerText.slice(0, 1500)`))
	if err != nil {
		return err.Error()
	}
	return text
}

func ask[T any](h *Hands, js string) T {
	h.tb.Helper()
	ctx, cancel := context.WithTimeout(h.tab.Ctx, stepLife)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js))
	if err != nil {
		h.tb.Fatalf("%s: %v", js, err)
	}
	return v
}
