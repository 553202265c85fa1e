package fsm

import (
	"testing"

	"example.com/belfry/fsm/model"
)

// TestApply_actor: INV fsm-10. A change that was on its way when its actor was
// disabled or deleted is not made, and one by somebody who is back is.
func TestApply_actor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		by     string
		before []Command
		want   model.Code
	}{
		"the system":             {by: "system"},
		"a key":                  {by: "key:k"},
		"a user":                 {by: "user:u"},
		"a key nobody knows":     {by: "key:x", want: model.CodeUnauthorized},
		"a user nobody knows":    {by: "user:x", want: model.CodeUnauthorized},
		"a user's name as a key": {by: "key:u", want: model.CodeUnauthorized},
		"a deleted key":          {by: "key:k", before: []Command{DeleteKey{head(epoch), "a", "k"}}, want: model.CodeUnauthorized},
		"a deleted user":         {by: "user:u", before: []Command{DeleteUser{head(epoch), "a", "u"}}, want: model.CodeUnauthorized},
		"a disabled key":         {by: "key:k", before: []Command{disableKey(true)}, want: model.CodeUnauthorized},
		"a key that is enabled":  {by: "key:k", before: []Command{disableKey(true), disableKey(false)}},
		"a disabled user":        {by: "user:u", before: []Command{UpdateUser{head(epoch), "a", "u", model.UserPatch{Disabled: model.Some(true)}}}, want: model.CodeUnauthorized},
		"a key of a disabled account": {
			by: "key:k", before: []Command{UpdateAccount{head(epoch), "a", model.AccountPatch{Disabled: model.Some(true)}}}, want: model.CodeUnauthorized,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			mustDo(t, s, bootstrap(), CreateAccount{head(epoch), testAccount("a")}, CreateKey{head(epoch), testKey("a", "k")}, CreateUser{head(epoch), testUser("a", "u")})
			mustDo(t, s, c.before...)
			h := head(epoch)
			h.By.Name = c.by
			if got := model.CodeOf(do(t, s, CreateSecurity{h, testSecurity("a", "s")})); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if _, err := s.Security("a", "s"); (err == nil) != (c.want == "") {
				t.Errorf("what was to be made: %v", err)
			}
		})
	}
}

func disableKey(disabled bool) Command {
	return UpdateKey{head(epoch), "a", "k", model.KeyPatch{Disabled: model.Some(disabled)}}
}
