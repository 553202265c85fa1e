package console

import "net/http"

// confirmation is the page that asks before something is destroyed. It is a
// page of its own, so that it works without scripts; with them it opens in a
// dialog (the link has data-dialog).
type confirmation struct {
	Form *form
	// What would be done, as a question: "Delete the profile orders?".
	Question string
	// Name must be typed; empty: a button is enough.
	Name string
	// Effects say what follows; Refused, why it cannot be done now.
	Effects []string
	Refused string
	// Referrers are what is in the way.
	Referrers []link
	// Verb is on the button; Cancel is the way back.
	Verb, Cancel string
}

type link struct{ Label, Href string }

// confirm answers with the question of k.
func (v *visit) confirm(k confirmation) *answer {
	if k.Form == nil {
		k.Form = v.blank()
	}
	a := v.show(k)
	a.file = "confirm.html"
	return a.titled("%s", k.Question)
}

// confirmed reads the answer to k; if it is not a yes, again is the page to
// answer with.
func (v *visit) confirmed(k confirmation) (again *answer, yes bool) {
	k.Form = v.form()
	if k.Name == "" || k.Form.Text("confirm") == k.Name {
		return nil, true
	}
	k.Form.bad("confirm", "Type the name exactly as it is shown.")
	return v.confirm(k).with(http.StatusUnprocessableEntity), false
}

// refused answers a confirmed question with the reason of the API.
func (v *visit) refused(k confirmation, err error) (*answer, error) {
	k.Form = v.form()
	a, err := v.invalid(k, k.Form, err, "confirm")
	if err != nil {
		return nil, err
	}
	a.file = "confirm.html"
	return a.titled("%s", k.Question), nil
}
