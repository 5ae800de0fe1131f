# Freezes the reference numbers of tests/reference/effect_sizes.json.
#
#   Rscript tests/reference/effect_sizes.R > tests/reference/effect_sizes.json
#
# Every case is a coded row and what it must become: r, var_r, z, var_z. Numbers come from
# metafor::escalc where it has the measure, otherwise from the published formula named in
# "source", written out here; delta-method variances are differentiated by R itself (D()).

suppressMessages(library(metafor))

fisher <- quote(0.5 * log((1 + r) / (1 - r)))
tanh_z <- quote((exp(2 * z) - 1) / (exp(2 * z) + 1))
to_z <- function(r) eval(fisher)
to_r <- function(z) eval(tanh_z)
delta_z <- function(r, var_r) eval(D(fisher, "r"))^2 * var_r
delta_r <- function(z, var_z) eval(D(tanh_z, "z"))^2 * var_z

cases <- list()
add <- function(name, row, r, var_r, z, var_z, source) {
  cases[[length(cases) + 1]] <<- list(
    name = name, row = row,
    expected = list(r = r, var_r = var_r, z = z, var_z = var_z), source = source
  )
}
both <- function(name, row, r, n, source) {
  cor <- escalc(measure = "COR", ri = r, ni = n)
  zcor <- escalc(measure = "ZCOR", ri = r, ni = n)
  add(name, row, c(cor$yi), cor$vi, c(zcor$yi), zcor$vi, source)
}
# partial correlation from t, n and m covariates; metafor counts the focal predictor too.
# var z is Fisher's (1924) 1/(n - m - 3); metafor 3.8 prints 1/(n - m - 2) for ZPCOR.
partial <- function(name, row, t, n, m, source) {
  pcor <- escalc(measure = "PCOR", ti = t, ni = n, mi = m + 1)
  zpcor <- escalc(measure = "ZPCOR", ti = t, ni = n, mi = m + 1)
  stopifnot(all.equal(1 / zpcor$vi, n - m - 2))
  add(name, row, c(pcor$yi), pcor$vi, c(zpcor$yi), 1 / (n - m - 3), source)
}
t_of <- function(r, df) r * sqrt(df) / sqrt(1 - r^2)

# ---- r, Fisher's z, rank correlation
both("r", list(effect_type = "r", effect_value = .31, n = 84), .31, 84, "metafor COR, ZCOR")
both("r_negative", list(effect_type = "r", effect_value = -.9, n = 10), -.9, 10, "metafor COR, ZCOR")
both("r_from_groups", list(effect_type = "r", effect_value = .2, n1 = 31, n2 = 29), .2, 60, "metafor COR, ZCOR")
both("r_from_df", list(effect_type = "r", effect_value = .2, df = 58), .2, 60, "metafor COR, ZCOR")
v <- escalc(measure = "COR", ri = .27, ni = 57)$vi
both("r_from_variance", list(effect_type = "r", effect_value = .27, variance = v), .27, 57, "metafor COR, ZCOR")
both("r_from_se", list(effect_type = "r", effect_value = .27, se = sqrt(v)), .27, 57, "metafor COR, ZCOR")
ci <- to_r(to_z(.27) + c(-1, 1) * qnorm(.975) / sqrt(57 - 3))
both("r_from_interval", list(effect_type = "r", effect_value = .27, ci_low = ci[1], ci_high = ci[2]), .27, 57, "metafor COR, ZCOR")
p <- 2 * pt(-t_of(.27, 55), 55)
both("r_from_p", list(effect_type = "r", effect_value = .27, p_value = p, p_sides = "two"), .27, 57, "metafor COR, ZCOR")
both("r_from_p_one_sided", list(effect_type = "r", effect_value = .27, p_value = p / 2, p_sides = "one"), .27, 57, "metafor COR, ZCOR")

z <- .45
add("fisher_z", list(effect_type = "fisher_z", effect_value = z, n = 50),
    to_r(z), (1 - to_r(z)^2)^2 / 49, z, 1 / 47, "Borenstein et al. (2009), eq. 6.1-6.4")
add("fisher_z_reported_variance", list(effect_type = "fisher_z", effect_value = z, n = 50, variance = .03),
    to_r(z), (1 - to_r(z)^2)^2 / 49, z, .03, "reported variance of z; var r from n")
add("fisher_z_without_n", list(effect_type = "fisher_z", effect_value = z, se = .15),
    to_r(z), delta_r(z, .15^2), z, .15^2, "delta method by D()")
add("spearman_rho", list(effect_type = "spearman_rho", effect_value = -.42, n = 61),
    -.42, delta_r(to_z(-.42), (1 + .42^2 / 2) / 58), to_z(-.42), (1 + .42^2 / 2) / 58,
    "Bonett & Wright (2000), p. 24; delta method by D()")

# ---- partial, semipartial, beta
partial("partial_r", list(effect_type = "partial_r", effect_value = t_of(.25, 75) / sqrt(t_of(.25, 75)^2 + 75), n = 80, n_covariates = 3),
        t_of(.25, 75), 80, 3, "metafor PCOR (mi = m + 1); Fisher (1924) for var z")
v <- escalc(measure = "PCOR", ti = t_of(.25, 75), ni = 80, mi = 4)$vi
partial("partial_r_from_variance", list(effect_type = "partial_r", effect_value = .25, n_covariates = 3, variance = v),
        t_of(.25, 75), 80, 3, "metafor PCOR (mi = m + 1); Fisher (1924) for var z")
partial("partial_r_from_p", list(effect_type = "partial_r", effect_value = .25, n_covariates = 3, p_value = 2 * pt(-t_of(.25, 75), 75), p_sides = "two"),
        t_of(.25, 75), 80, 3, "metafor PCOR (mi = m + 1); Fisher (1924) for var z")

semipartial <- function(name, row, t, n, m, r2, source) {
  x <- escalc(measure = "SPCOR", ti = t, ni = n, mi = m + 1, r2i = r2)
  add(name, row, c(x$yi), x$vi, to_z(c(x$yi)), delta_z(c(x$yi), x$vi), source)
}
n <- 90; m <- 2; r2 <- .35; t <- 2.6
sp <- t * sqrt(1 - r2) / sqrt(n - m - 2)
semipartial("semipartial_r", list(effect_type = "semipartial_r", effect_value = sp, n = n, n_covariates = m, model_r2 = r2),
            t, n, m, r2, "metafor SPCOR; delta method by D()")
semipartial("semipartial_r_p", list(effect_type = "semipartial_r", effect_value = sp, n = n, n_covariates = m, p_value = 2 * pt(-t, n - m - 2), p_sides = "two"),
            t, n, m, r2, "metafor SPCOR, R2 recovered from p; delta method by D()")
semipartial("semipartial_r_bound", list(effect_type = "semipartial_r", effect_value = .3, n = n, n_covariates = m),
            .3 * sqrt(n - m - 2) / sqrt(1 - .09), n, m, .09, "metafor SPCOR at R2 = sp^2; delta method by D()")
v <- optimize(function(R2) escalc(measure = "SPCOR", ti = .8 * sqrt(n - m - 2) / sqrt(1 - R2), ni = n, mi = m + 1, r2i = R2)$vi,
              c(.64, 1), maximum = TRUE, tol = 1e-9)$maximum
stopifnot(abs(v - 1) < 1e-6)
add("semipartial_r_bound_large", list(effect_type = "semipartial_r", effect_value = .8, n = n, n_covariates = m),
    .8, .64 * .36 / n, to_z(.8), delta_z(.8, .64 * .36 / n), "largest variance over R2 in [sp^2, 1], found by optimize()")
add("semipartial_r_se", list(effect_type = "semipartial_r", effect_value = .3, n = n, n_covariates = m, se = .09),
    .3, .0081, to_z(.3), delta_z(.3, .0081), "reported variance; delta method by D()")
semipartial("r2_semipartial", list(effect_type = "r2", effect_value = sp^2, effect_sign = "positive", n = n, n_covariates = m, model_r2 = r2),
            t, n, m, r2, "metafor SPCOR; delta method by D()")

beta_z <- function(name, row, r, n, m)
  add(name, row, r, (1 - r^2)^2 / (n - m - 2), to_z(r), 1 / (n - m - 3), "Peterson & Brown (2005), p. 180; variance of a partial r")
beta_z("beta", list(effect_type = "beta", effect_value = .28, n = 120, n_covariates = 2), .33, 120, 2)
beta_z("beta_negative", list(effect_type = "beta", effect_value = -.28, n = 120, n_covariates = 2), -.28, 120, 2)
beta_z("beta_turned", list(effect_type = "beta", effect_value = -.28, n = 120, n_covariates = 2, outcome_direction = "higher_is_worse"), .33, 120, 2)
add("beta_se", list(effect_type = "beta", effect_value = .28, n = 120, n_covariates = 2, se = .08),
    .33, .0064, to_z(.33), delta_z(.33, .0064), "Peterson & Brown (2005); reported variance; delta method by D()")
se <- (.44 - .12) / (2 * qnorm(.975))
add("beta_interval", list(effect_type = "beta", effect_value = .28, n_covariates = 2, ci_low = .12, ci_high = .44),
    .33, se^2, to_z(.33), delta_z(.33, se^2), "Peterson & Brown (2005); variance of the interval; delta method by D()")
both("beta_single", list(effect_type = "beta", effect_value = .28, n = 120, n_covariates = 0), .28, 120, "metafor COR, ZCOR")

# ---- d, g, odds ratios
d_to_r <- function(name, row, d, var_d, a, source) {
  expr <- quote(d / sqrt(d^2 + a))
  r <- eval(expr)
  var_r <- eval(D(expr, "d"))^2 * var_d
  stopifnot(all.equal(var_r, a^2 * var_d / (d^2 + a)^3))
  add(name, row, r, var_r, to_z(r), delta_z(r, var_r), source)
}
vd <- function(d, n1, n2) (n1 + n2) / (n1 * n2) + d^2 / (2 * (n1 + n2))
af <- function(n1, n2) (n1 + n2)^2 / (n1 * n2)
borenstein <- "Borenstein et al. (2009), eq. 4.20, 7.7-7.9; delta method by D()"
d_to_r("d", list(effect_type = "d", effect_value = .6, n1 = 22, n2 = 41), .6, vd(.6, 22, 41), af(22, 41), borenstein)
d_to_r("d_equal_groups", list(effect_type = "d", effect_value = -.6, n = 63), -.6, vd(.6, 31.5, 31.5), 4, borenstein)
d_to_r("d_se", list(effect_type = "d", effect_value = .6, se = .3), .6, .09, 4, borenstein)
d_to_r("d_interval", list(effect_type = "d", effect_value = .6, n1 = 22, n2 = 41, ci_low = .1, ci_high = 1.1),
       .6, (1 / (2 * qnorm(.975)))^2, af(22, 41), borenstein)
J <- 1 - 3 / (4 * 61 - 1)
d_to_r("g", list(effect_type = "g", effect_value = .6, n1 = 22, n2 = 41), .6 / J, vd(.6 / J, 22, 41), af(22, 41),
       "Hedges (1981), eq. 6e; Borenstein et al. (2009), eq. 4.22-4.24, 7.7-7.9")
d_to_r("g_variance", list(effect_type = "g", effect_value = .6, n1 = 22, n2 = 41, variance = .08), .6 / J, .08 / J^2, af(22, 41),
       "Hedges (1981), eq. 6e; Borenstein et al. (2009), eq. 4.22-4.24, 7.7-7.9")

or2d <- escalc(measure = "OR2DL", ai = 18, bi = 12, ci = 14, di = 26)
or <- escalc(measure = "OR", ai = 18, bi = 12, ci = 14, di = 26)
lor <- c(or$yi); se <- sqrt(or$vi)
hh <- "metafor OR2DL; Borenstein et al. (2009), eq. 7.7-7.9; delta method by D()"
to_r_or <- function(name, row, a) d_to_r(name, row, c(or2d$yi), or2d$vi, a, hh)
to_r_or("odds_ratio_se", list(effect_type = "odds_ratio", effect_value = exp(lor), se = se, n1 = 30, n2 = 40), af(30, 40))
ci <- exp(lor + c(-1, 1) * qnorm(.975) * se)
to_r_or("odds_ratio_interval", list(effect_type = "odds_ratio", effect_value = exp(lor), ci_low = ci[1], ci_high = ci[2]), 4)
to_r_or("odds_ratio_p", list(effect_type = "odds_ratio", effect_value = exp(lor), p_value = 2 * pnorm(-lor / se), p_sides = "two", n = 70), 4)
to_r_or("log_odds_ratio_variance", list(effect_type = "log_odds_ratio", effect_value = lor, variance = or$vi, n1 = 30, n2 = 40), af(30, 40))
to_r_or("log_odds_ratio_interval", list(effect_type = "log_odds_ratio", effect_value = lor, ci_low = log(ci[1]), ci_high = log(ci[2]), n1 = 30, n2 = 40), af(30, 40))

# ---- tests
both("t", list(effect_type = "t", effect_value = 2.6, df = 82), 2.6 / sqrt(2.6^2 + 82), 84, "Rosenthal (1991), eq. 2.16; metafor COR, ZCOR")
both("t_df_from_n", list(effect_type = "t", effect_value = -2.6, n = 84), -2.6 / sqrt(2.6^2 + 82), 84, "Rosenthal (1991), eq. 2.16; metafor COR, ZCOR")
partial("t_covariates", list(effect_type = "t", effect_value = 2.6, n = 84, n_covariates = 2), 2.6, 84, 2, "metafor PCOR; Fisher (1924) for var z")
both("F", list(effect_type = "F", effect_value = 6.76, df = 82, n = 84, effect_sign = "negative"), -2.6 / sqrt(2.6^2 + 82), 84, "Rosenthal (1991), eq. 2.17; metafor COR, ZCOR")
partial("F_covariates", list(effect_type = "F", effect_value = 6.76, n = 84, n_covariates = 2, effect_sign = "positive"), 2.6, 84, 2, "metafor PCOR; Fisher (1924) for var z")
phi <- escalc(measure = "PHI", ai = 18, bi = 12, ci = 14, di = 26)
chi2 <- suppressWarnings(unname(chisq.test(matrix(c(18, 14, 12, 26), 2), correct = FALSE)$statistic))
both("chi2", list(effect_type = "chi2", effect_value = chi2, n = 70, effect_sign = "positive"), c(phi$yi), 70, "metafor PHI; var as COR, ZCOR")
tp <- qt(.013 / 2, 82, lower.tail = FALSE)
req <- "Rosenthal & Rubin (2003), eq. 1; metafor COR, ZCOR"
both("p_two_sided", list(effect_type = "p", effect_value = .013, n = 84, p_sides = "two", effect_sign = "positive"), tp / sqrt(tp^2 + 82), 84, req)
both("p_one_sided", list(effect_type = "p", effect_value = .0065, df = 82, p_sides = "one", effect_sign = "negative"), -tp / sqrt(tp^2 + 82), 84, req)
tp <- qt(1e-12 / 2, 82, lower.tail = FALSE)
both("p_tiny", list(effect_type = "p", effect_value = 1e-12, n = 84, p_sides = "two", effect_sign = "positive"), tp / sqrt(tp^2 + 82), 84, req)
both("eta2", list(effect_type = "eta2", effect_value = .09, n = 84, n_covariates = 0, effect_sign = "negative"), -.3, 84, "metafor COR, ZCOR")
partial("eta2_partial", list(effect_type = "eta2", effect_value = .09, n = 84, n_covariates = 1, effect_sign = "positive"), t_of(.3, 81), 84, 1, "metafor PCOR; Fisher (1924) for var z")
both("r2", list(effect_type = "r2", effect_value = .09, n = 84, n_covariates = 0, effect_sign = "positive"), .3, 84, "metafor COR, ZCOR")

# ---- composites
yi <- c(.31, .12, .45, .2, -.05, .33, .5); vi <- c(.012, .02, .015, .04, .01, .025, .03)
sample <- c("b", "a", "b", "c", "a", "b", "d")
composites <- lapply(c(0, .6, 1), function(rho) {
  x <- aggregate(escalc(yi = yi, vi = vi, data = data.frame(sample = sample)), cluster = sample,
                 struct = "CS", rho = rho, weighted = FALSE, checkpd = FALSE)
  x <- x[match(unique(sample), x$sample), ]
  list(rho = rho, y = c(x$yi), v = x$vi)
})

# ---- JSON with every bit of a double
quoted <- function(x) paste0('"', x, '"')
json <- function(x) {
  if (is.list(x)) {
    parts <- vapply(x, json, "")
    if (is.null(names(x))) return(paste0("[", paste(parts, collapse = ",\n"), "]"))
    return(paste0("{", paste0(quoted(names(x)), ": ", parts, collapse = ", "), "}"))
  }
  items <- if (is.character(x)) quoted(x) else sprintf("%.17g", x)
  if (length(x) == 1) items else paste0("[", paste(items, collapse = ", "), "]")
}
cat(json(list(
  made_by = "tests/reference/effect_sizes.R",
  r_version = paste(R.version$major, R.version$minor, sep = "."),
  metafor_version = as.character(packageVersion("metafor")),
  composites_input = list(y = yi, v = vi, groups = sample),
  composites = composites,
  conversions = cases
)), "\n", sep = "")
