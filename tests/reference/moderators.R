# Reference values for pairwise comparisons, variance inflation and associations of moderators.
# Rscript tests/reference/moderators.R > tests/reference/moderators.json
# The inputs are part of the file. Needs metafor and clubSandwich.

suppressMessages({
  library(metafor)
  library(clubSandwich)
})

# REML converges to 1e-5 in metafor unless told otherwise
control <- list(threshold = 1e-14, maxiter = 1e5)

number <- function(x) ifelse(is.finite(x), formatC(x, digits = 17, format = "g"), "null")
vector_ <- function(x) paste0("[", paste(number(as.numeric(x)), collapse = ", "), "]")
matrix_ <- function(x) paste0("[", paste(apply(x, 1, vector_), collapse = ", "), "]")
quote_ <- function(x) paste0("\"", x, "\"")
text <- function(x) paste0("[", paste(quote_(x), collapse = ", "), "]")
object <- function(...) {
  items <- list(...)
  paste0("{", paste0("\"", names(items), "\": ", unlist(items), collapse = ", "), "}")
}

set.seed(20181)
simulate <- function(sizes, levels) {
  study <- rep(seq_along(sizes), sizes)
  k <- length(study)
  level <- sample(levels, k, replace = TRUE)
  group <- sample(c("rct", "cohort", "other"), k, replace = TRUE, prob = c(0.5, 0.3, 0.2))
  x <- round(rnorm(k, 2005, 9))
  w <- round(0.9 * x + rnorm(k, 0, 3), 1)
  n <- sample(12:240, k, replace = TRUE)
  u <- rnorm(length(sizes), 0, 0.15)[study]
  y <- round(0.25 + 0.12 * (level == levels[2]) - 0.1 * (level == levels[3]) + u + rnorm(k, 0, sqrt(1 / (n - 3))), 4)
  data.frame(study, y, v = 1 / (n - 3), level = factor(level, levels), group = factor(group, c("rct", "cohort", "other")), x, w)
}
sets <- list(
  independent = simulate(rep(1, 48), c("client", "therapist", "observer", "parent")),
  dependent = simulate(rep(c(1, 2, 3, 5), 8), c("client", "therapist", "observer", "parent"))
)

# estimated marginal means: equal weights of the other factor's levels, means of numbers
marginal <- function(dat, formula, factor_) {
  grid <- expand.grid(level = levels(dat$level), group = levels(dat$group))
  grid$level <- factor(grid$level, levels(dat$level))
  grid$group <- factor(grid$group, levels(dat$group))
  grid$x <- mean(dat$x)
  X <- model.matrix(formula, grid)
  t(sapply(levels(dat[[factor_]]), function(l) colMeans(X[grid[[factor_]] == l, , drop = FALSE])))
}
pairwise <- function(means) {
  pairs <- combn(nrow(means), 2)
  list(
    a = rownames(means)[pairs[1, ]], b = rownames(means)[pairs[2, ]],
    L = t(apply(pairs, 2, function(p) means[p[1], ] - means[p[2], ]))
  )
}

comparisons <- c()
for (set in names(sets)) {
  dat <- sets[[set]]
  for (moderators in c("level", "level + x", "level * group")) {
    formula <- as.formula(paste("~", moderators))
    for (moderator in c("level", if (grepl("group", moderators)) "group")) {
      pairs <- pairwise(marginal(dat, formula, moderator))
      for (inference in c("z", "knapp_hartung", "cr2")) {
        if (inference == "cr2" && set == "independent") next
        test <- if (inference == "knapp_hartung") "knha" else "z"
        fit <- rma(y, v, mods = formula, data = dat, method = "REML", test = test, control = control)
        if (inference == "cr2") {
          out <- linear_contrast(fit, vcov = "CR2", cluster = dat$study, contrasts = pairs$L, p_values = TRUE)
          values <- list(out$Est, out$SE, out$Est / out$SE, out$df, out$p_val, out$CI_L, out$CI_U)
        } else {
          out <- anova(fit, X = pairs$L)
          df <- if (inference == "z") NA else fit$k - fit$p
          half <- out$se * (if (is.na(df)) qnorm(0.975) else qt(0.975, df))
          values <- list(out$Xb, out$se, out$zval, rep(df, length(pairs$a)), out$pval, out$Xb - half, out$Xb + half)
        }
        comparisons <- c(comparisons, object(
          set = quote_(set), moderators = quote_(moderators), inference = quote_(inference),
          moderator = quote_(moderator), level_a = text(pairs$a), level_b = text(pairs$b),
          difference = vector_(values[[1]]), se = vector_(values[[2]]), statistic = vector_(values[[3]]),
          df = vector_(values[[4]]), p_value = vector_(values[[5]]),
          p_holm = vector_(p.adjust(values[[5]], method = "holm")),
          ci_low = vector_(values[[6]]), ci_high = vector_(values[[7]])
        ))
      }
    }
  }
}

holm <- sapply(list(
  c(0.01, 0.04, 0.03, 0.005), c(0.2, NA, 0.01, 0.01), c(0.9, 0.8, 0.7), c(NA, NA), 0.03
), function(p) object(p = vector_(p), adjusted = vector_(p.adjust(p, method = "holm"))))

inflations <- c()
inflate <- function(name, fit, groups) {
  inflations <<- c(inflations, object(
    name = quote_(name), terms = text(ifelse(rownames(fit$b) == "intrcpt", "Intercept", rownames(fit$b))),
    covariance = matrix_(vcov(fit)), single = vector_(vif(fit)$vifs),
    groups = paste0("[", paste(sapply(groups, function(g) vector_(g - 1)), collapse = ", "), "]"),
    grouped = vector_(sapply(groups, function(g) vif(fit, btt = g)$vifs))
  ))
}
dat <- sets$dependent
inflate("numbers", rma(y, v, mods = ~ x + w, data = dat, control = control), list(2, 2:3))
inflate("factor and number", rma(y, v, mods = ~ level + x, data = dat, test = "knha", control = control), list(2:4, 5))
inflate("two factors", rma(y, v, mods = ~ level + group + x + w, data = dat, control = control), list(2:4, 5:6, 7, 8, 7:8))
inflate("common effect", rma(y, v, mods = ~ level * x, data = dat, method = "FE"), list(2:4, 5, 6:8))
inflate("no intercept", rma(y, v, mods = ~ 0 + level + x, data = dat, control = control), list(1:4, 5))
inflate("multilevel", rma.mv(y, v, mods = ~ level + group + w, random = ~ 1 | study, data = dat), list(2:4, 5:6, 7))

# each study counts once
weights <- 1 / table(dat$study)[as.character(dat$study)]
dat$weight <- as.numeric(weights)
shares <- xtabs(weight ~ level + group, dat)
chi2 <- suppressWarnings(chisq.test(shares, correct = FALSE))$statistic
associations <- object(
  cramers_v = number(sqrt(chi2 / sum(shares) / (min(dim(shares)) - 1))),
  eta2 = number(summary(lm(x ~ level, dat, weights = weight))$r.squared),
  r = number(cov.wt(dat[, c("x", "w")], wt = dat$weight, cor = TRUE)$cor[1, 2])
)

as_set <- function(dat) {
  object(
    study = vector_(dat$study), y = vector_(dat$y), v = vector_(dat$v), level = text(dat$level),
    group = text(dat$group), x = vector_(dat$x), w = vector_(dat$w)
  )
}
listed <- function(items) paste0("[\n", paste(items, collapse = ",\n"), "\n]")
cat(paste0(
  "{\n\"versions\": ", object(
    R = quote_(getRversion()), metafor = quote_(packageVersion("metafor")),
    clubSandwich = quote_(packageVersion("clubSandwich"))
  ),
  ",\n\"sets\": {\n", paste0("\"", names(sets), "\": ", sapply(sets, as_set), collapse = ",\n"), "\n}",
  ",\n\"comparisons\": ", listed(comparisons), ",\n\"holm\": ", listed(holm),
  ",\n\"inflations\": ", listed(inflations), ",\n\"associations\": ", associations, "\n}\n"
))
