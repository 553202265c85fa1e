package model

import "testing"

func TestXMLForm(t *testing.T) {
	t.Parallel()
	n := 0
	for _, c := range Channels() {
		for _, e := range c.Events {
			root, item, ok := XMLForm(c.Name, e)
			if !ok {
				if root != "" || item != "" {
					t.Errorf("%s %s has no form, but names: %s, %s", c.Name, e, root, item)
				}
				continue
			}
			n++
			if e != "DELIVERY" || !Batches(c.Name, e) {
				t.Errorf("%s %s has an XML form: it is no list of reports", c.Name, e)
			}
			if voice := c.Name == "VOICE_VIDEO"; voice != (root == "reportResponse" && item == "results") || !voice != (root == "DeliveryReports" && item == "result") {
				t.Errorf("%s %s: <%s>, <%s>", c.Name, e, root, item)
			}
		}
	}
	if n != len(xmlReports)+1 {
		t.Errorf("%d events have an XML form, want one of each of the %d channels and of VOICE_VIDEO", n, len(xmlReports))
	}
	for _, name := range []string{"EMAIL", "WHATSAPP", "VKONTAKTE", "TELEX"} {
		if _, _, ok := XMLForm(name, "DELIVERY"); ok {
			t.Errorf("%s has an XML form", name)
		}
	}
}
