package dashboard

import (
	"errors"
	"html/template"
	"net/http"
	"time"

	"modulo/internal/config"
	"modulo/internal/doctor"
	"modulo/internal/operations"
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

// examineAnswer is what writing the page may take beyond the doctor's time.
const examineAnswer = 10 * time.Second

// examine asks the doctor; the page is answered when the report is there.
func (d *Dashboard) examine(w http.ResponseWriter, r *http.Request) (string, error) {
	control, until := http.NewResponseController(w), time.Now().Add(operations.ExamineLimit+examineAnswer)
	if err := errors.Join(control.SetWriteDeadline(until), control.SetReadDeadline(until)); err != nil {
		return "", err
	}
	_, err := d.Console.Examine(r.Context())
	return d.render.path("/settings"), err
}

func (d *Dashboard) readSettings(r *http.Request) (frame, error) {
	page := settingsPage{rights: rightsOf(r), Settings: d.Console.Settings, DoctorNote: "not asked yet"}
	checkup := d.Console.Checkup()
	if checkup.At != nil {
		page.DoctorNote = moment(time.Now(), *checkup.At)
	}
	for _, f := range checkup.Findings {
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
