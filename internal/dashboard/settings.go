package dashboard

import (
	"html/template"
	"net/http"
	"sync"
	"time"

	"modulo/internal/config"
	"modulo/internal/doctor"
)

// settingsPage is the screen of the configuration in force, and of what the doctor says.
type settingsPage struct {
	rights
	Settings   []config.Setting
	DoctorNote template.HTML
	Checks     []checkLine
}

// checkLine is one finding of the doctor.
type checkLine struct {
	Group, Name, Text, Hint string
	State                   mark
}

// checkup is the doctor's last report; one at a time is made.
type checkup struct {
	running sync.Mutex

	mu     sync.Mutex
	report doctor.Report
	at     time.Time
}

// examineLimit is how long the doctor may take: it waits for a broker that does not answer.
const examineLimit = 2 * time.Minute

// examine asks the doctor; the page is answered when the report is there.
func (d *Dashboard) examine(w http.ResponseWriter, r *http.Request) (string, error) {
	control, until := http.NewResponseController(w), time.Now().Add(examineLimit)
	if err := control.SetWriteDeadline(until); err != nil {
		return "", err
	}
	if err := control.SetReadDeadline(until); err != nil {
		return "", err
	}
	path := d.render.path("/settings")
	if !d.checkup.running.TryLock() {
		return path, &formError{"The checks are running already: look again in a moment."}
	}
	defer d.checkup.running.Unlock()
	report := d.Doctor(r.Context())
	d.checkup.mu.Lock()
	defer d.checkup.mu.Unlock()
	d.checkup.report, d.checkup.at = report, time.Now()
	return path, nil
}

func (d *Dashboard) readSettings(r *http.Request) (frame, error) {
	page := settingsPage{rights: rightsOf(r), Settings: d.Console.Settings, DoctorNote: "not asked yet"}
	d.checkup.mu.Lock()
	defer d.checkup.mu.Unlock()
	if !d.checkup.at.IsZero() {
		page.DoctorNote = moment(time.Now(), d.checkup.at)
	}
	for _, f := range d.checkup.report {
		line := checkLine{Group: f.Group, Name: f.Name, Text: f.Check, Hint: f.Hint, State: markOf(good, "ok")}
		switch f.Status {
		case doctor.Warning:
			line.State = markOf(warn, "warning")
		case doctor.Failure:
			line.State = markOf(bad, "failure")
		}
		page.Checks = append(page.Checks, line)
	}
	return frame{Title: "Settings", Section: "Settings", Command: "modulo doctor", Page: page}, nil
}
