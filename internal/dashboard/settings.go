package dashboard

import (
	"net/http"

	"modulo/internal/operations"
)

// settingsPage is the screen of the configuration in force.
type settingsPage struct {
	rights
	Settings []operations.Setting
}

func (d *Dashboard) readSettings(r *http.Request) (frame, error) {
	page := settingsPage{rights: d.rights(r), Settings: d.Console.Settings}
	return frame{Title: "Settings", Section: "Settings", Command: "modulo doctor", Page: page}, nil
}
