package node

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"example.com/belfry/dispatch"
	"example.com/belfry/dispatch/event"
	"example.com/belfry/fsm/model"
)

const (
	expiryInterval = time.Hour
	// expiryLookback is how long after its time a warning is still given: less
	// than the default idempotency window, within which it is given once.
	expiryLookback = 23 * time.Hour
)

// expiryWarnings are how long before the end of a certificate its account is
// told.
var expiryWarnings = []time.Duration{30 * 24 * time.Hour, 7 * 24 * time.Hour, 24 * time.Hour}

// certificates is what expiry reads. It is fsm.Store.
type certificates interface {
	ListAccounts(page, size int) (model.Page[model.Account], error)
	ListCertificates(account string, f model.CertificateFilter, page, size int) (model.Page[model.Certificate], error)
}

// expiry is the duty of the config leader that tells accounts of client
// certificates that end soon.
type expiry struct {
	certificates certificates
	tell         func(dispatch.Notice)
	lookback     time.Duration // 0: expiryLookback
	log          hclog.Logger
}

// Name names the duty.
func (x *expiry) Name() string { return "certificate expiry" }

// Run looks at once and then every hour, until ctx ends.
func (x *expiry) Run(ctx context.Context, _ uint64) error {
	tick := time.NewTicker(expiryInterval)
	defer tick.Stop()
	for {
		if err := x.look(time.Now()); err != nil {
			x.log.Warn("the certificates could not be looked through; the next hour tries again", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (x *expiry) look(now time.Time) error {
	for a, err := range eachOf(func(page int) (model.Page[model.Account], error) { return x.certificates.ListAccounts(page, pageSize) }) {
		if err != nil {
			return err
		}
		for c, err := range eachOf(func(page int) (model.Page[model.Certificate], error) {
			return x.certificates.ListCertificates(a.ID, model.CertificateFilter{}, page, pageSize)
		}) {
			if err != nil {
				return err
			}
			x.judge(now, &c)
		}
	}
	return nil
}

// judge tells of c if the time for one of the warnings has just come.
func (x *expiry) judge(now time.Time, c *model.Certificate) {
	lookback := x.lookback
	if lookback == 0 {
		lookback = expiryLookback
	}
	for _, before := range expiryWarnings {
		since := now.Sub(c.ValidUntil.Add(-before))
		if since < 0 || since >= lookback {
			continue
		}
		days := int(before / (24 * time.Hour))
		x.tell(dispatch.Notice{
			Account: c.Account, Name: event.NoticeCertificate,
			ID: fmt.Sprintf("certificate-%d-%d", c.UpdatedIndex, days), // the index is unique
			Fields: map[string]any{
				"certificateId": c.ID, "issuedTo": c.IssuedTo, "serialNumber": c.SerialNumber,
				"validUntil": c.ValidUntil.UTC(), "days": days,
			},
		})
	}
}
