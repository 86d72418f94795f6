package jobs

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// owners lists the workers of K that own an id.
func owners(id int64, of int) (numbers []int) {
	for number := range of {
		if (Shard{Number: number, Of: of}).Owns(id) {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

func TestEveryIDHasOneOwner(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id, of := rapid.Int64().Draw(t, "id"), rapid.IntRange(1, MaxWorkers).Draw(t, "K")
		if got := owners(id, of); len(got) != 1 {
			t.Fatalf("id %d, K %d: owners %v", id, of, got)
		}
	})
	for of := 1; of <= MaxWorkers; of++ {
		for _, id := range []int64{math.MinInt64, math.MinInt64 + 1, -int64(of), -1, 0, 1, int64(of), math.MaxInt64} {
			if got := owners(id, of); len(got) != 1 {
				t.Errorf("id %d, K %d: owners %v", id, of, got)
			}
		}
	}
}

func TestOwnersOfTheExample(t *testing.T) {
	t.Parallel()
	got := map[int][]int64{}
	for id := int64(1001); id <= 1007; id++ {
		number := owners(id, 5)[0]
		got[number] = append(got[number], id)
	}
	if text := fmt.Sprint(got); text != "map[0:[1005] 1:[1001 1006] 2:[1002 1007] 3:[1003] 4:[1004]]" {
		t.Error(text)
	}
	if owners(-7, 5)[0] != 3 { // -7 % 5 is -2
		t.Error("-7 belongs to", owners(-7, 5))
	}
}

func TestOutcomesAddUp(t *testing.T) {
	t.Parallel()
	sum := Outcome{Fetched: 1, Sent: 2, Done: 3, Failed: 4, Repeated: 5, Took: 7}
	sum.Add(Outcome{Fetched: 10, Sent: 20, Done: 30, Failed: 40, Repeated: 50, Took: 6, again: true})
	if want := (Outcome{Fetched: 11, Sent: 22, Done: 33, Failed: 44, Repeated: 55, Took: 7, again: true}); sum != want {
		t.Errorf("%+v, want %+v", sum, want)
	}
}
