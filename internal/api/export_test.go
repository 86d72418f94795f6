package api

// Routes lists the routes as in "GET /jobs/{job}".
func (a *API) Routes() []string {
	var list []string
	for _, r := range a.routes() {
		list = append(list, r.method+" "+r.path)
	}
	return list
}
