module example.com/belfry

go 1.26.8
